"""Fields that chat and text completions share, as they come over the wire, with their ranges.

Unknown fields are tolerated. Where llama.cpp or vLLM use another name or a special value such
as -1, both are understood.
"""

from typing import Annotated, Any, Literal

import msgspec

from ai_assistant.gateway.decoding import portable
from ai_assistant.gateway.errors import invalid
from ai_assistant.gateway.wire_nodes import NodeFields
from ai_assistant.protocol.errors import InvalidRequest
from ai_assistant.protocol.requests import OutputFormat, Sampling

_INT32 = 2**31 - 1
_INT64 = 2**63 - 1
_MAX_STOPS = 16

Unit = Annotated[float, msgspec.Meta(ge=0, le=1)]
Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
Factor = Annotated[float, msgspec.Meta(gt=0, le=10)]
Limit = Annotated[int, msgspec.Meta(ge=-1, le=_INT32)]
"""-1: none."""
Candidates = Annotated[int, msgspec.Meta(ge=0, le=20)]
JsonSchema = dict[str, Any]


class StreamOptions(msgspec.Struct):
    """What a stream carries besides the text."""

    include_usage: bool | None = None


class NamedSchema(msgspec.Struct):
    """The `json_schema` of a response format."""

    schema: JsonSchema | None = None


class ResponseFormat(msgspec.Struct):
    """OpenAI's response format; `schema` beside `json_object` as in llama.cpp."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None
    schema: JsonSchema | None = None


class CommonFields(msgspec.Struct):
    """How to sample, when to stop, what the output must look like, how urgent it is."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Limit | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=16)] | None = None
    stop: str | list[str] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Unit | None = None
    top_k: Limit | None = None
    min_p: Unit | None = None
    repetition_penalty: Factor | None = None
    repeat_penalty: Factor | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Annotated[int, msgspec.Meta(ge=-_INT64, le=_INT64)] | None = None
    logit_bias: dict[int, Annotated[float, msgspec.Meta(ge=-100, le=100)]] | None = None
    response_format: ResponseFormat | None = None
    guided_json: JsonSchema | str | None = None
    guided_regex: str | None = None
    grammar: str | None = None
    priority: str | int | None = None
    service_tier: str | None = None
    ignore_eos: bool | None = None
    timings: bool | None = None
    ai_assistant: NodeFields | None = None

    def sampling(self) -> Sampling:
        """How the next token is drawn."""
        bias = self.logit_bias or {}
        if not all(0 <= token <= _INT32 for token in bias):
            raise invalid("logit_bias", "the names must be token ids")
        return Sampling(
            temperature=self.temperature,
            top_k=0 if self.top_k == -1 else self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            repetition_penalty=_first(self.repetition_penalty, self.repeat_penalty),
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            seed=None if self.seed == -1 else self.seed,
            logit_bias=bias,
        )

    def stops(self) -> tuple[str, ...]:
        """Strings that end a choice."""
        return stop_strings(self.stop, "stop")

    def output_format(self) -> OutputFormat:
        """What the output must look like: at most one way of saying it."""
        found = [
            form
            for form in (self._response_form(), self._guided_form(), *self._grammar_forms())
            if form.kind != "text"
        ]
        if len(found) > 1:
            raise InvalidRequest(
                "Give only one of response_format, guided_json, guided_regex and grammar.",
                param="response_format",
            )
        return found[0] if found else OutputFormat()

    def _response_form(self) -> OutputFormat:
        wanted = self.response_format
        if wanted is None or wanted.type == "text":
            return OutputFormat()
        schema = wanted.schema
        name = "response_format.schema"
        if wanted.type == "json_schema":
            schema = wanted.json_schema.schema if wanted.json_schema else schema
            name = "response_format.json_schema.schema"
            if schema is None:
                raise invalid(name, "this field is required")
        if schema is None:
            return OutputFormat(kind="json_object")
        return OutputFormat(kind="json_schema", schema=portable(schema, name))

    def _guided_form(self) -> OutputFormat:
        schema = self.guided_json
        if isinstance(schema, str):
            try:
                schema = msgspec.json.decode(schema, type=JsonSchema)
            except (msgspec.MsgspecError, RecursionError):
                raise invalid("guided_json", "expected a JSON schema") from None
        if schema is None:
            return OutputFormat()
        return OutputFormat(kind="json_schema", schema=portable(schema, "guided_json"))

    def _grammar_forms(self) -> tuple[OutputFormat, OutputFormat]:
        lark, regex = self.grammar, self.guided_regex
        return (
            OutputFormat(kind="lark", grammar=lark) if lark else OutputFormat(),
            OutputFormat(kind="regex", grammar=regex) if regex else OutputFormat(),
        )


def stop_strings(given: str | list[str] | None, param: str) -> tuple[str, ...]:
    """Strings that end an answer; raises `InvalidRequest` if there are too many."""
    stops = [given] if isinstance(given, str) else given or []
    if len(stops) > _MAX_STOPS:
        raise invalid(param, f"at most {_MAX_STOPS} strings")
    return tuple(filter(None, stops))


def token_limit(param: str, value: int | None) -> int | None:
    """A limit on output tokens; None: none."""
    if value == 0:
        raise invalid(param, "expected at least 1, or -1 for no limit")
    return None if value == -1 else value


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)
