"""A conversation as the text that the model was trained on."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import msgspec

from ai_assistant.engine.text.messages import (
    Shape,
    described,
    message_dicts,
    spelled_out,
    tool_dicts,
)
from ai_assistant.engine.text.sandbox import FAILURES, ChatEnvironment, Refused, render_bounded
from ai_assistant.protocol.errors import InvalidRequest
from ai_assistant.protocol.requests import ChatMessage, ChatPrompt, Tool, ToolCall

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

_PROBE = "p4obe"
_END = "\ue000end\ue000"
_USER = ChatMessage(role="user", content=_PROBE)
_TOOL = Tool(name=_PROBE, parameters={"type": "object", "properties": {}})


class ChatTemplate:
    """One model's chat template.

    Without a source, or with one that is broken, ChatML is used and `note` says so. The text
    holds the begin token where the template writes it.
    """

    def __init__(self, source: str | None, bos: str, eos: str) -> None:
        self._environment = ChatEnvironment()
        self._tokens = {"bos_token": bos, "eos_token": eos}
        self.note: str | None = None
        self.source = source or CHATML
        problem = self._compile()
        if problem is not None:
            self.source = CHATML
            self._compile()
            self.note = f"The model's chat template is broken ({problem}); ChatML is used."
        elif not source:
            self.note = "The model has no chat template; ChatML is used."

    def render(self, prompt: ChatPrompt) -> str:
        """The prompt's text, up to where the model goes on.

        Raises `InvalidRequest` with the template's own message where it refuses.
        """
        messages = self._adapted(prompt)
        variables = dict(prompt.template_variables)
        tools = () if prompt.tool_choice.mode == "none" else prompt.tools
        continued = variables.pop("continue_final_message", False) is True
        try:
            if continued and messages and messages[-1].role == "assistant":
                return self._continued(messages, tools, variables)
            return self._text(messages, tools, variables)
        except Refused as error:
            raise InvalidRequest(
                f"The model's chat template refuses this conversation: {error}", param="messages"
            ) from error
        except FAILURES as error:
            raise InvalidRequest(
                f"The model's chat template failed on this conversation: "
                f"{error or type(error).__name__}",
                param="messages",
            ) from error

    def _compile(self) -> str | None:
        """Make `source` ready; says why it cannot be used, if so."""
        try:
            self._code = self._environment.from_string(self.source)
            self._text([_USER], (), {})
        except Refused:
            return None
        except FAILURES as error:
            return str(error) or type(error).__name__
        return None

    def _adapted(self, prompt: ChatPrompt) -> list[ChatMessage]:
        """The messages, with what the template does not know put in words."""
        messages = list(prompt.messages)
        if "developer" not in self.source:
            messages = [_developer_as_system(message) for message in messages]
        if any(message.tool_calls for message in messages) and self._call_shape is None:
            messages = spelled_out(messages)
        if prompt.tools and prompt.tool_choice.mode != "none" and not self._knows_tools:
            messages = described(messages, prompt.tools, system=self._knows_system)
        return messages

    def _continued(
        self, messages: list[ChatMessage], tools: Iterable[Tool], variables: dict[str, Any]
    ) -> str:
        """The text up to the end of the last message, which the model goes on with."""
        last = messages[-1]
        if last.content or not last.reasoning:
            marked = msgspec.structs.replace(last, content=(last.content or "") + _END)
        else:
            marked = msgspec.structs.replace(last, reasoning=last.reasoning + _END)
        closed = {**variables, "add_generation_prompt": False}
        text, end, _ = self._text([*messages[:-1], marked], tools, closed).rpartition(_END)
        if end:
            return text
        return self._text(messages[:-1], tools, variables) + (last.content or "")

    def _text(
        self,
        messages: Sequence[ChatMessage],
        tools: Iterable[Tool],
        variables: dict[str, Any],
        shape: Shape | None = None,
    ) -> str:
        called = any(message.tool_calls for message in messages)
        if shape is None:
            shape = (self._call_shape if called else None) or self._shape
        names: dict[str, Any] = {"add_generation_prompt": True, **variables, **self._tokens}
        if "enable_thinking" in names:
            names.setdefault("thinking", names["enable_thinking"])
        names["messages"] = message_dicts(messages, shape)
        if described_tools := tool_dicts(tools):
            names["tools"] = described_tools
        return render_bounded(self._code, names)

    @cached_property
    def _shape(self) -> Shape:
        """How the template wants messages without calls; found by trying."""
        shape = Shape(
            thinking_parts="['thinking']" in self.source and "'type'" in self.source,
            thinking_key="message.thinking" in self.source,
            short_ids="length != 9" in self.source,
        )
        parts = shape._replace(content_parts=True)
        plain_works = self._shows(_PROBE, [_USER], shape)
        return parts if not plain_works and self._shows(_PROBE, [_USER], parts) else shape

    @cached_property
    def _call_shape(self) -> Shape | None:
        """How the template wants messages with calls; None where it does not show calls."""
        call = ToolCall(id="p4obe0000", name="p4obe_f", arguments='{"p4obe_a": "p4obe_v"}')
        messages = [
            ChatMessage(role="user", content="u"),
            ChatMessage(role="assistant", tool_calls=(call,)),
            ChatMessage(role="tool", content="p4obe_r", tool_call_id=call.id, name=call.name),
        ]
        for argument_text in (False, True):
            for none_content in (False, True):
                shape = self._shape._replace(argument_text=argument_text, none_content=none_content)
                if self._shows("p4obe_v", messages, shape) and self._shows(
                    "p4obe_f", messages, shape
                ):
                    return shape
        return None

    @cached_property
    def _knows_tools(self) -> bool:
        return self._shows(_PROBE, [ChatMessage(role="user", content="u")], self._shape, (_TOOL,))

    @cached_property
    def _knows_system(self) -> bool:
        messages = [
            ChatMessage(role="system", content=_PROBE),
            ChatMessage(role="user", content="u"),
        ]
        return self._shows(_PROBE, messages, self._shape)

    def _shows(
        self,
        needle: str,
        messages: Sequence[ChatMessage],
        shape: Shape,
        tools: Iterable[Tool] = (),
    ) -> bool:
        try:
            return needle in self._text(messages, tools, {}, shape)
        except FAILURES:
            return False


def _developer_as_system(message: ChatMessage) -> ChatMessage:
    return (
        msgspec.structs.replace(message, role="system") if message.role == "developer" else message
    )
