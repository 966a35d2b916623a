"""Body bytes to wire structs; what msgspec finds wrong becomes plain words and a field's name."""

import re
from typing import Any, TypeVar

import msgspec

from ai_assistant.gateway.errors import invalid
from ai_assistant.protocol.errors import InvalidRequest

Wire = TypeVar("Wire", bound=msgspec.Struct)

_WORDS = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_PATH = re.compile(r" - at (?:`key` in )?`\$\.?(?P<path>[^`]*)`$")
_MISSING = re.compile(r"^Object missing required field `(?P<field>[^`]+)`")
_TYPES = re.compile(r"`([a-z |]+)`")


def decode(decoder: msgspec.json.Decoder[Wire], body: bytes) -> Wire:
    """The body as the decoder's struct; raises `InvalidRequest`."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _misfit(str(error)) from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: {_malformed(error, body)}.") from None
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"The body is not valid UTF-8: wrong byte at position {_position(error, body)}."
        ) from None
    except RecursionError:
        raise InvalidRequest("The body's JSON is nested too deeply.") from None


def portable(value: Any, param: str) -> Any:
    """Free-form JSON as it is, if it can travel on: no number beyond 64 bits, no deep nesting."""
    try:
        msgspec.msgpack.encode(value)
    except (OverflowError, RecursionError):
        raise invalid(param, "a number is too large or the nesting too deep") from None
    return value


def _misfit(message: str) -> InvalidRequest:
    path = _PATH.search(message)
    problem = message[: path.start()] if path else message
    param = path["path"].replace("[...]", "") if path else ""
    missing = _MISSING.match(problem)
    if missing:
        return invalid(".".join(filter(None, (param, missing["field"]))), "this field is required")
    problem = _TYPES.sub(_in_words, problem[:1].lower() + problem[1:])
    if not param:
        return InvalidRequest(f"The body: {problem}.")
    return invalid(param, problem)


def _in_words(match: re.Match[str]) -> str:
    return " or ".join(_WORDS.get(name, name) for name in match[1].split(" | "))


def _malformed(error: msgspec.DecodeError, body: bytes) -> str:
    words = str(error)
    if "truncated" in words:
        return f"it, or a \\u escape in it, ends in the middle ({len(body)} bytes)"
    return words.removeprefix("JSON is malformed: ")


def _position(error: UnicodeDecodeError, body: bytes) -> int:
    try:
        body.decode()
    except UnicodeDecodeError as whole:
        return whole.start
    return error.start
