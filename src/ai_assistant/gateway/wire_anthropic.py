"""The body of Anthropic's Messages API, and what it asks in our words."""

from typing import Annotated, Any, Literal

import msgspec

from ai_assistant.gateway.decoding import decode, portable
from ai_assistant.gateway.errors import invalid
from ai_assistant.gateway.keys import Standing
from ai_assistant.gateway.steady import steady
from ai_assistant.gateway.turns import in_order
from ai_assistant.gateway.wire_anthropic_blocks import Block, Turn, system_text, to_messages
from ai_assistant.gateway.wire_common import JsonSchema, Unit, stop_strings
from ai_assistant.protocol.requests import (
    ChatMessage,
    ChatPrompt,
    GenerateRequest,
    OutputFormat,
    Sampling,
    Tool,
    ToolChoice,
)

_EFFORTS = {"xhigh": "high", "max": "high"}
"""Anthropic's degrees that templates do not know."""


class ToolEntry(msgspec.Struct):
    """A tool; kinds that Anthropic runs on its own servers have other types."""

    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: JsonSchema | None = None
    strict: bool | None = None


class Choice(msgspec.Struct):
    """Whether a tool may, must or must not be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(msgspec.Struct):
    """Whether to think before the answer. A budget is not enforced."""

    type: str
    budget_tokens: int | None = None


class Format(msgspec.Struct):
    """What the answer must look like."""

    type: Literal["json_schema"]
    schema: JsonSchema


class OutputConfig(msgspec.Struct):
    """How much effort, and in what form."""

    effort: str | None = None
    format: Format | None = None


class CountBody(msgspec.Struct, kw_only=True):
    """POST /v1/messages/count_tokens: all that becomes a part of the prompt."""

    messages: Annotated[list[Turn], msgspec.Meta(min_length=1)]
    model: str | None = None
    system: str | list[Block] | None = None
    tools: list[ToolEntry] | None = None
    tool_choice: Choice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None


class MessagesBody(CountBody, kw_only=True):
    """POST /v1/messages."""

    max_tokens: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    """0: compute the prompt, for the cache, and answer nothing."""
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Unit | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None
    output_format: Format | None = None
    """The older place of `output_config.format`."""
    service_tier: str | None = None


_decoder = msgspec.json.Decoder(MessagesBody)
_count_decoder = msgspec.json.Decoder(CountBody)


def read_messages(body: bytes) -> MessagesBody:
    """The body's fields; raises `InvalidRequest`."""
    return decode(_decoder, body)


def read_count(body: bytes) -> CountBody:
    """The fields of a body that asks for a count; raises `InvalidRequest`."""
    return decode(_count_decoder, body)


def to_request(
    wire: MessagesBody, *, request_id: str, model: str, standing: Standing
) -> GenerateRequest:
    """What is asked; raises `RequestError` that names the field at fault."""
    return GenerateRequest(
        request_id=request_id,
        model=model,
        prompt=to_prompt(wire),
        sampling=Sampling(temperature=wire.temperature, top_p=wire.top_p, top_k=wire.top_k),
        max_tokens=max(wire.max_tokens, 1),
        stop=stop_strings(wire.stop_sequences, "stop_sequences"),
        format=_to_format(wire),
        priority=standing.priority,
        tenant=standing.tenant,
        weight=standing.weight,
    )


def to_prompt(wire: CountBody) -> ChatPrompt:
    """The conversation; raises `RequestError`."""
    tools = _to_tools(wire.tools or [])
    messages = to_messages(wire.messages)
    if system := system_text(wire.system):
        messages.insert(0, ChatMessage(role="system", content=system))
    ordered = steady(in_order(messages))
    return ChatPrompt(
        messages=ordered,
        tools=tools,
        tool_choice=_to_choice(wire.tool_choice, tools),
        parallel_tool_calls=not (wire.tool_choice and wire.tool_choice.disable_parallel_tool_use),
        template_variables=_to_variables(wire, continued=_is_prefill(ordered)),
    )


def _is_prefill(messages: tuple[ChatMessage, ...]) -> bool:
    """The last turn is the beginning of the answer."""
    return messages[-1].role == "assistant" and not messages[-1].tool_calls


def _to_variables(wire: CountBody, *, continued: bool) -> dict[str, Any]:
    variables: dict[str, Any] = {"continue_final_message": True} if continued else {}
    kind = wire.thinking.type if wire.thinking else None
    if kind in ("enabled", "disabled"):
        variables["enable_thinking"] = kind == "enabled"
    effort = wire.output_config.effort if wire.output_config else None
    if effort is not None:
        variables["reasoning_effort"] = _EFFORTS.get(effort, effort)
    return variables


def _to_format(wire: MessagesBody) -> OutputFormat:
    config = wire.output_config
    wanted = (config.format if config else None) or wire.output_format
    if wanted is None:
        return OutputFormat()
    return OutputFormat(
        kind="json_schema", schema=portable(wanted.schema, "output_config.format.schema")
    )


def _to_tools(entries: list[ToolEntry]) -> tuple[Tool, ...]:
    """The client's own tools; those that Anthropic's servers would run are left out."""
    return tuple(
        _to_tool(entry, f"tools[{i}]")
        for i, entry in enumerate(entries)
        if entry.type in (None, "custom")
    )


def _to_tool(entry: ToolEntry, where: str) -> Tool:
    if not entry.name:
        raise invalid(f"{where}.name", "this field is required")
    return Tool(
        name=entry.name,
        description=entry.description,
        parameters=portable(entry.input_schema, f"{where}.input_schema"),
        strict=bool(entry.strict),
    )


def _to_choice(choice: Choice | None, tools: tuple[Tool, ...]) -> ToolChoice:
    if choice is None or choice.type == "auto":
        return ToolChoice()
    if choice.type == "none":
        return ToolChoice(mode="none")
    if not tools:
        raise invalid("tool_choice.type", f"{choice.type} needs at least one tool in tools")
    if choice.type == "any":
        return ToolChoice(mode="required")
    if choice.name not in {tool.name for tool in tools}:
        raise invalid("tool_choice.name", "no tool of that name is in tools")
    return ToolChoice(mode="required", name=choice.name)
