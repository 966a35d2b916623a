"""The items of a Responses request's input, as messages in our words."""

from typing import Any

import msgspec

from ai_assistant.gateway.errors import invalid
from ai_assistant.protocol.errors import UnsupportedFeature
from ai_assistant.protocol.requests import ChatMessage, ToolCall

_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_TEXTS = ("input_text", "output_text", "text", "summary_text", "reasoning_text")
_IMAGES = ("input_image", "image_url")
_SILENT = {
    "web_search_call",
    "file_search_call",
    "code_interpreter_call",
    "image_generation_call",
    "mcp_list_tools",
    "tool_search_call",
    "tool_search_output",
    "compaction",
    "compaction_trigger",
    "configuration_update",
}
"""Items that say nothing to another model."""


class Part(msgspec.Struct):
    """A piece of a content."""

    type: str
    text: str | None = None
    refusal: str | None = None


class Item(msgspec.Struct):
    """One item: the fields of all types that are read here."""

    type: str = "message"
    role: str | None = None
    content: str | list[Part] | None = None
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None
    output: str | list[Part] | None = None
    summary: list[Part] | None = None


def to_messages(items: list[Item]) -> list[ChatMessage]:
    """The items in our words; raises `RequestError` that names the field at fault."""
    names = {item.call_id: item.name for item in items if item.name}
    messages: list[ChatMessage] = []
    for i, item in enumerate(items):
        if item.type in _SILENT:
            continue
        reader = _READERS.get(item.type)
        if reader is None:
            raise UnsupportedFeature(
                f"input[{i}].type: items of type {item.type} are not supported.",
                param=f"input[{i}].type",
            )
        message = reader(item, f"input[{i}]")
        if message.role == "tool":
            name = names.get(message.tool_call_id)
            message = msgspec.structs.replace(message, name=name)
        messages.append(message)
    return messages


def _message(item: Item, where: str) -> ChatMessage:
    if item.role not in _ROLES:
        raise invalid(f"{where}.role", f"expected one of {', '.join(_ROLES)}")
    text = _text(item.content, f"{where}.content")
    return ChatMessage(role=_ROLES[item.role], content=text)


def _function_call(item: Item, where: str) -> ChatMessage:
    return _call(item, item.arguments or "{}", where)


def _custom_call(item: Item, where: str) -> ChatMessage:
    return _call(item, custom_arguments(item.input or ""), where)


def custom_arguments(text: str) -> str:
    """The free text of a custom tool's call as the arguments of a function."""
    return msgspec.json.encode({"input": text}).decode()


def _call(item: Item, arguments: str, where: str) -> ChatMessage:
    for field in ("call_id", "name"):
        if not getattr(item, field):
            raise invalid(f"{where}.{field}", "this field is required")
    call = ToolCall(id=item.call_id or "", name=item.name or "", arguments=arguments)
    return ChatMessage(role="assistant", tool_calls=(call,))


def _output(item: Item, where: str) -> ChatMessage:
    if not item.call_id:
        raise invalid(f"{where}.call_id", "this field is required")
    output = item.output
    if isinstance(output, list):
        output = [_UNSEEN if part.type in _IMAGES else part for part in output]
    text = _text(output, f"{where}.output")
    return ChatMessage(role="tool", content=text, tool_call_id=item.call_id)


def _reasoning(item: Item, where: str) -> ChatMessage:
    """What was thought; encrypted thoughts are another server's."""
    content = item.content if item.content else item.summary
    return ChatMessage(role="assistant", reasoning=_text(content, f"{where}.content") or None)


_UNSEEN = Part(type="text", text="(an image, which this model cannot see)")
"""A tool may give one unasked: refusing it would end the conversation."""

_READERS: Any = {
    "message": _message,
    "function_call": _function_call,
    "function_call_output": _output,
    "custom_tool_call": _custom_call,
    "custom_tool_call_output": _output,
    "reasoning": _reasoning,
}


def _text(content: str | list[Part] | None, where: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(_part_text(part, f"{where}[{i}]") for i, part in enumerate(content))


def _part_text(part: Part, where: str) -> str:
    if part.type != "refusal" and part.type not in _TEXTS:
        raise UnsupportedFeature(
            f"{where}.type: this server reads text only; send no parts of type {part.type}.",
            param=f"{where}.type",
        )
    text = part.refusal if part.type == "refusal" else part.text
    if text is None:
        raise invalid(f"{where}.text", "this field is required")
    return text
