"""The bodies of Ollama's API, and what they ask in our words."""

from typing import Annotated, Any

import msgspec

from ai_assistant.gateway.closed_schema import closed
from ai_assistant.gateway.decoding import decode, portable
from ai_assistant.gateway.errors import invalid
from ai_assistant.gateway.keys import Standing
from ai_assistant.gateway.steady import steady
from ai_assistant.gateway.wire_common import (
    Candidates,
    Factor,
    JsonSchema,
    Penalty,
    Unit,
    stop_strings,
)
from ai_assistant.gateway.wire_messages import CalledFunction, ToolEntry, to_tools
from ai_assistant.protocol.errors import UnsupportedFeature
from ai_assistant.protocol.requests import (
    ChatMessage,
    ChatPrompt,
    GenerateRequest,
    OutputFormat,
    Prompt,
    Sampling,
    TextPrompt,
    ToolCall,
)

_INT32 = 2**31 - 1
_ROLES = ("system", "user", "assistant", "tool")
Limit = (
    Annotated[int, msgspec.Meta(ge=-2, le=_INT32)]
    | Annotated[float, msgspec.Meta(ge=-2, le=_INT32)]
)
Count = (
    Annotated[int, msgspec.Meta(ge=-1, le=_INT32)]
    | Annotated[float, msgspec.Meta(ge=-1, le=_INT32)]
)
Seed = (
    Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    | Annotated[float, msgspec.Meta(gt=-(2.0**63), lt=2.0**63)]
)
"""Clients whose numbers are all floats write 40.0; what stands behind the point does not count."""


class Options(msgspec.Struct):
    """How to sample and when to stop. Options of how a model is loaded are the node's to set."""

    num_predict: Limit | None = None
    """-1 and -2: no limit but the context."""
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_k: Count | None = None
    top_p: Unit | None = None
    min_p: Unit | None = None
    repeat_penalty: Factor | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Seed | None = None
    stop: str | list[str] | None = None


class Called(msgspec.Struct):
    """A call of an earlier turn."""

    function: CalledFunction
    id: str = ""


class OllamaMessage(msgspec.Struct):
    """One turn."""

    role: str
    content: str | None = None
    thinking: str | None = None
    images: list[Any] | None = None
    tool_calls: list[Called] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class GenerateFields(msgspec.Struct, kw_only=True):
    """What chats and single prompts share."""

    model: str
    stream: bool | None = None
    format: str | JsonSchema | None = None
    options: Options | None = None
    keep_alive: str | float | None = None
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: Candidates | None = None


class OllamaChat(GenerateFields, kw_only=True):
    """POST /api/chat."""

    messages: list[OllamaMessage] | None = None
    tools: list[ToolEntry] | None = None


class OllamaGenerate(GenerateFields, kw_only=True):
    """POST /api/generate."""

    prompt: str | None = None
    system: str | None = None
    raw: bool | None = None
    suffix: str | None = None
    template: str | None = None
    context: list[int] | None = None
    images: list[Any] | None = None


class OllamaEmbed(msgspec.Struct, kw_only=True):
    """POST /api/embed, and /api/embeddings with `prompt`."""

    model: str
    input: str | list[str] | None = None
    prompt: str | None = None
    dimensions: int | None = None


class OllamaModel(msgspec.Struct, kw_only=True):
    """A body that names a model."""

    model: str | None = None
    name: str | None = None
    """The older name of the field."""
    stream: bool | None = None


_chats = msgspec.json.Decoder(OllamaChat)
_prompts = msgspec.json.Decoder(OllamaGenerate)
_embeds = msgspec.json.Decoder(OllamaEmbed)
_models = msgspec.json.Decoder(OllamaModel)


def read_chat(body: bytes) -> OllamaChat:
    """The body's fields; raises `InvalidRequest`."""
    return decode(_chats, body)


def read_generate(body: bytes) -> OllamaGenerate:
    """The body's fields; raises `InvalidRequest`."""
    return decode(_prompts, body)


def read_embed(body: bytes) -> OllamaEmbed:
    """The body's fields; raises `InvalidRequest`."""
    return decode(_embeds, body)


def read_model(body: bytes) -> OllamaModel:
    """The body's fields; raises `InvalidRequest`."""
    return decode(_models, body or b"{}")


def to_request(
    wire: GenerateFields, prompt: Prompt, *, request_id: str, model: str, standing: Standing
) -> GenerateRequest:
    """What is asked; raises `RequestError` that names the field at fault."""
    options = wire.options or Options()
    limit = _count(options.num_predict)
    if limit == 0:
        raise invalid("options.num_predict", "expected at least 1, or -1 for no limit")
    return GenerateRequest(
        request_id=request_id,
        model=model,
        prompt=prompt,
        sampling=_to_sampling(options),
        max_tokens=None if limit is None or limit < 0 else limit,
        stop=stop_strings(options.stop, "options.stop"),
        logprobs=(wire.top_logprobs or 0) if wire.logprobs else None,
        format=_to_format(wire.format),
        priority=standing.priority,
        tenant=standing.tenant,
        weight=standing.weight,
    )


def chat_prompt(wire: OllamaChat) -> ChatPrompt:
    """The conversation."""
    return ChatPrompt(
        messages=steady(_to_messages(wire.messages or [])),
        tools=to_tools(wire.tools or []),
        template_variables=_to_variables(wire.think),
    )


def single_prompt(wire: OllamaGenerate) -> Prompt:
    """The prompt, in the model's template unless it is `raw`."""
    for name in ("suffix", "template", "context", "images"):
        if getattr(wire, name):
            raise UnsupportedFeature(_UNSUPPORTED[name], param=name)
    text = wire.prompt or ""
    if wire.raw:
        return TextPrompt(text)
    messages = [ChatMessage(role="user", content=text)]
    if wire.system:
        messages.insert(0, ChatMessage(role="system", content=wire.system))
    return ChatPrompt(messages=steady(messages), template_variables=_to_variables(wire.think))


_UNSUPPORTED = {
    "suffix": "suffix: filling in the middle is not supported.",
    "template": "template: the model's own is used; send raw text with raw to write another.",
    "context": "context: send the conversation to /api/chat instead.",
    "images": "images: this server reads text only.",
}


def _to_messages(given: list[OllamaMessage]) -> list[ChatMessage]:
    """Ollama's calls have no ids: results belong to the calls before them, in their order."""
    messages: list[ChatMessage] = []
    open_calls: list[ToolCall] = []
    count = 0
    for i, message in enumerate(given):
        where = f"messages[{i}]"
        if message.role not in _ROLES:
            raise invalid(f"{where}.role", f"expected one of {', '.join(_ROLES)}")
        if message.images:
            raise UnsupportedFeature(f"{where}.{_UNSUPPORTED['images']}", param=f"{where}.images")
        calls = [
            _to_call(call, f"call_{count + j}", f"{where}.tool_calls[{j}]")
            for j, call in enumerate(message.tool_calls or [])
        ]
        count += len(calls)
        open_calls += calls
        messages.append(_to_message(message, tuple(calls), open_calls))
    return messages


def _to_message(
    message: OllamaMessage, calls: tuple[ToolCall, ...], open_calls: list[ToolCall]
) -> ChatMessage:
    answered = open_calls.pop(0) if message.role == "tool" and open_calls else None
    return ChatMessage(
        role=message.role,
        content=message.content or "",
        reasoning=message.thinking,
        tool_calls=calls,
        tool_call_id=message.tool_call_id or (answered and answered.id),
        name=message.tool_name or (answered and answered.name),
    )


def _to_call(call: Called, id: str, where: str) -> ToolCall:
    arguments = call.function.arguments
    if not isinstance(arguments, str):
        arguments = portable(arguments or {}, f"{where}.function.arguments")
        arguments = msgspec.json.encode(arguments).decode()
    return ToolCall(id=call.id or id, name=call.function.name, arguments=arguments)


def _to_sampling(options: Options) -> Sampling:
    return Sampling(
        temperature=options.temperature,
        top_k=0 if options.top_k == -1 else _count(options.top_k),
        top_p=options.top_p,
        min_p=options.min_p,
        repetition_penalty=options.repeat_penalty,
        presence_penalty=options.presence_penalty or 0.0,
        frequency_penalty=options.frequency_penalty or 0.0,
        seed=None if options.seed == -1 else _count(options.seed),
    )


def _count(number: float | None) -> int | None:
    return None if number is None else int(number)


def _to_format(wanted: str | JsonSchema | None) -> OutputFormat:
    if not wanted:
        return OutputFormat()
    if isinstance(wanted, dict):
        return OutputFormat(kind="json_schema", schema=closed(portable(wanted, "format")))
    if wanted != "json":
        raise invalid("format", "expected json or a JSON schema")
    return OutputFormat(kind="json_object")


def _to_variables(think: bool | str | None) -> dict[str, Any]:
    if think is None:
        return {}
    if isinstance(think, bool):
        return {"enable_thinking": think}
    return {"enable_thinking": True, "reasoning_effort": think}
