"""The body of a chat request, and what it asks in our words."""

from typing import Annotated, Any

import msgspec

from ai_assistant.gateway.decoding import decode, portable
from ai_assistant.gateway.errors import invalid
from ai_assistant.gateway.keys import Standing
from ai_assistant.gateway.steady import steady
from ai_assistant.gateway.wire_common import Candidates, CommonFields, Limit, token_limit
from ai_assistant.gateway.wire_messages import (
    ChosenTool,
    Message,
    ToolEntry,
    to_choice,
    to_message,
    to_tools,
)
from ai_assistant.gateway.wire_nodes import for_node
from ai_assistant.protocol.errors import UnsupportedFeature
from ai_assistant.protocol.requests import ChatPrompt, GenerateRequest


class Reasoning(msgspec.Struct):
    """How much to think, in the shape of newer clients."""

    effort: str | None = None
    enabled: bool | None = None


class ChatBody(CommonFields, kw_only=True):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    max_completion_tokens: Limit | None = None
    logprobs: bool | None = None
    top_logprobs: Candidates | None = None
    tools: list[ToolEntry] | None = None
    tool_choice: str | ChosenTool | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Any] | None = None
    reasoning_effort: str | None = None
    reasoning: Reasoning | None = None
    enable_thinking: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None


_decoder = msgspec.json.Decoder(ChatBody)


def read_chat(body: bytes) -> ChatBody:
    """The body's fields; raises `InvalidRequest`."""
    return decode(_decoder, body)


def to_request(
    wire: ChatBody, *, request_id: str, model: str, standing: Standing
) -> GenerateRequest:
    """What is asked; raises `RequestError` that names the field at fault."""
    request = GenerateRequest(
        request_id=request_id,
        model=model,
        prompt=to_prompt(wire),
        sampling=wire.sampling(),
        max_tokens=_to_limit(wire),
        stop=wire.stops(),
        n=wire.n or 1,
        logprobs=_to_logprobs(wire),
        format=wire.output_format(),
        priority=standing.priority,
        tenant=standing.tenant,
        weight=standing.weight,
        ignore_eos=bool(wire.ignore_eos),
    )
    return for_node(request, wire.ai_assistant)


def to_prompt(wire: ChatBody) -> ChatPrompt:
    """The conversation; raises `RequestError`."""
    if wire.functions:
        raise UnsupportedFeature("functions: use tools instead.", param="functions")
    tools = to_tools(wire.tools or [])
    return ChatPrompt(
        messages=steady(
            [to_message(message, f"messages[{i}]") for i, message in enumerate(wire.messages)]
        ),
        tools=tools,
        tool_choice=to_choice(wire.tool_choice, tools),
        parallel_tool_calls=wire.parallel_tool_calls is not False,
        template_variables=_to_variables(wire),
    )


def _to_variables(wire: ChatBody) -> dict[str, Any]:
    """`chat_template_kwargs` has the last word."""
    reasoning = wire.reasoning or Reasoning()
    effort = wire.reasoning_effort or reasoning.effort
    thinking = wire.enable_thinking if wire.enable_thinking is not None else reasoning.enabled
    variables: dict[str, Any] = {}
    if effort == "none":
        thinking = False
    elif effort is not None:
        variables["reasoning_effort"] = effort
    if thinking is not None:
        variables["enable_thinking"] = thinking
    extra = portable(wire.chat_template_kwargs or {}, "chat_template_kwargs")
    return {**variables, **extra}


def _to_limit(wire: ChatBody) -> int | None:
    if wire.max_completion_tokens is not None:
        return token_limit("max_completion_tokens", wire.max_completion_tokens)
    return token_limit("max_tokens", wire.max_tokens)


def _to_logprobs(wire: ChatBody) -> int | None:
    if wire.logprobs:
        return wire.top_logprobs or 0
    if wire.top_logprobs:
        raise invalid("top_logprobs", "set logprobs to true as well")
    return None
