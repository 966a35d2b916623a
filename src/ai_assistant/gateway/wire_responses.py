"""The body of OpenAI's Responses API, and what it asks in our words."""

from typing import Annotated, Any, Literal

import msgspec

from ai_assistant.gateway.decoding import decode, portable
from ai_assistant.gateway.errors import invalid
from ai_assistant.gateway.keys import Standing
from ai_assistant.gateway.steady import steady
from ai_assistant.gateway.turns import in_order
from ai_assistant.gateway.wire_common import Candidates, JsonSchema, Unit
from ai_assistant.gateway.wire_responses_items import Item, to_messages
from ai_assistant.gateway.wire_responses_tools import Choice, ToolEntry, to_choice, to_tools
from ai_assistant.protocol.errors import UnsupportedFeature
from ai_assistant.protocol.requests import (
    ChatMessage,
    ChatPrompt,
    GenerateRequest,
    OutputFormat,
    Sampling,
)

_LOGPROBS = "message.output_text.logprobs"
_EFFORTS = {"minimal": "low", "xhigh": "high", "max": "high"}
"""OpenAI's degrees that templates do not know."""


class TextFormat(msgspec.Struct):
    """What the text must look like."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    schema: JsonSchema | None = None


class TextOptions(msgspec.Struct):
    """Options of the text."""

    format: TextFormat | None = None
    verbosity: str | None = None


class Reasoning(msgspec.Struct):
    """How much to think; a summary of the thoughts is not made, they are given whole."""

    effort: str | None = None
    summary: str | None = None


class ResponseBody(msgspec.Struct, kw_only=True):
    """POST /v1/responses."""

    model: str | None = None
    input: str | list[Item] | None = None
    instructions: str | None = None
    stream: bool | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    tools: list[ToolEntry] | None = None
    tool_choice: str | Choice | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: Reasoning | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Unit | None = None
    top_logprobs: Candidates | None = None
    include: list[str] | None = None
    metadata: dict[str, Any] | None = None
    truncation: str | None = None
    service_tier: str | None = None
    priority: str | int | None = None
    user: str | None = None
    background: bool | None = None
    conversation: Any = None
    prompt: Any = None


_decoder = msgspec.json.Decoder(ResponseBody)


def read_response(body: bytes) -> ResponseBody:
    """The body's fields; raises `InvalidRequest`."""
    return decode(_decoder, body)


def to_request(
    wire: ResponseBody,
    messages: tuple[ChatMessage, ...],
    *,
    request_id: str,
    model: str,
    standing: Standing,
) -> GenerateRequest:
    """What is asked of a whole conversation; raises `RequestError` that names the field."""
    return GenerateRequest(
        request_id=request_id,
        model=model,
        prompt=to_prompt(wire, messages),
        sampling=Sampling(temperature=wire.temperature, top_p=wire.top_p),
        max_tokens=wire.max_output_tokens,
        logprobs=_to_logprobs(wire),
        format=_to_format(wire),
        priority=standing.priority,
        tenant=standing.tenant,
        weight=standing.weight,
    )


def new_messages(wire: ResponseBody) -> tuple[ChatMessage, ...]:
    """What this request adds to the conversation; raises `RequestError`."""
    for field, what in _UNSUPPORTED.items():
        if getattr(wire, field):
            raise UnsupportedFeature(f"{field}: {what}", param=field)
    if isinstance(wire.input, str):
        return (ChatMessage(role="user", content=wire.input),)
    return tuple(to_messages(wire.input or []))


_UNSUPPORTED = {
    "background": "responses are not made in the background; ask and wait, or stream.",
    "conversation": "conversations are not kept here; use previous_response_id or send all items.",
    "prompt": "no prompt templates are kept here; send instructions and input.",
}


def to_prompt(wire: ResponseBody, messages: tuple[ChatMessage, ...]) -> ChatPrompt:
    """The conversation under this request's instructions and with its tools."""
    head = (ChatMessage(role="system", content=wire.instructions),) if wire.instructions else ()
    # A client that only wants to see whether this address answers sends nothing.
    rest = messages or (ChatMessage(role="user", content=""),)
    tools = to_tools(wire.tools or [])
    tools, choice = to_choice(wire.tool_choice, tools)
    return ChatPrompt(
        messages=steady(in_order((*head, *rest))),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=wire.parallel_tool_calls is not False,
        template_variables=_to_variables(wire.reasoning),
    )


def _to_variables(reasoning: Reasoning | None) -> dict[str, Any]:
    effort = reasoning.effort if reasoning else None
    if effort is None:
        return {}
    if effort == "none":
        return {"enable_thinking": False}
    return {"reasoning_effort": _EFFORTS.get(effort, effort)}


def _to_logprobs(wire: ResponseBody) -> int | None:
    wanted = wire.top_logprobs is not None or _LOGPROBS in (wire.include or ())
    return (wire.top_logprobs or 0) if wanted else None


def _to_format(wire: ResponseBody) -> OutputFormat:
    wanted = wire.text.format if wire.text else None
    if wanted is None or wanted.type == "text":
        return OutputFormat()
    if wanted.type == "json_object":
        return OutputFormat(kind="json_object")
    if wanted.schema is None:
        raise invalid("text.format.schema", "this field is required")
    return OutputFormat(kind="json_schema", schema=portable(wanted.schema, "text.format.schema"))
