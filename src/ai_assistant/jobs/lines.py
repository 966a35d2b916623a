"""The lines of a batch's input: read one by one, checked, never trusted."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from ai_assistant.jobs.states import Problem

MAX_LINES = 200_000
MAX_LINE_BYTES = 32 << 20
MAX_ID = 512
_BOM = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """A line that holds something; `number` counts all lines of the file, from 1."""

    number: int
    raw: bytes


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A line that can be asked."""

    custom_id: str
    body: bytes
    """JSON, as it was written."""
    model: str | None
    """As the body names it."""


class BadLine(Exception):
    """A line that cannot be asked; `custom_id` is there if it could be read."""

    def __init__(self, code: str, message: str, param: str, custom_id: str | None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.custom_id = custom_id

    def problem(self, number: int) -> Problem:
        """The same as data."""
        return Problem(code=self.code, message=self.message, line=number, param=self.param)


class _Wire(msgspec.Struct):
    """A line's fields."""

    custom_id: str | None = None
    method: str | None = None
    url: str | None = None
    body: msgspec.Raw = msgspec.Raw()


class _Named(msgspec.Struct):
    """What is needed of a line whose other fields are wrong."""

    custom_id: str | None = None


class _Body(msgspec.Struct):
    """What is looked at in a body; the endpoint checks the rest."""

    model: str | None = None
    stream: bool | None = None


_wire = msgspec.json.Decoder(_Wire)
_named = msgspec.json.Decoder(_Named)
_body = msgspec.json.Decoder(_Body)
_anything = msgspec.json.Decoder()


def read_lines(path: Path) -> Iterator[Line]:
    """The lines that are not blank. One that is too long comes cut: it is no JSON any more."""
    with path.open("rb") as file:
        number = 0
        while raw := file.readline(MAX_LINE_BYTES):
            number += 1
            if not raw.endswith(b"\n"):
                _skip_rest(file)
            raw = raw.removeprefix(_BOM) if number == 1 else raw
            if stripped := raw.strip():
                yield Line(number, stripped)


def _skip_rest(file: BinaryIO) -> None:
    while (more := file.readline(MAX_LINE_BYTES)) and not more.endswith(b"\n"):
        pass


def read_request(raw: bytes, endpoint: str) -> Request:
    """What a line asks; raises `BadLine`."""
    wire = _decoded(raw)
    name = wire.custom_id
    if not name or len(name) > MAX_ID:
        problem = "is required" if not name else f"is longer than {MAX_ID} characters"
        raise BadLine("invalid_custom_id", f"custom_id {problem}.", "custom_id", name or None)
    if wire.method != "POST":
        raise BadLine("invalid_method", "method must be POST.", "method", name)
    if wire.url != endpoint:
        message = f"url must be that of the batch, {endpoint}."
        raise BadLine("mismatched_endpoint", message, "url", name)
    if not wire.body:
        raise BadLine("missing_body", "body is required.", "body", name)
    body = bytes(wire.body)
    return Request(custom_id=name, body=body, model=_model_of(body, name))


def _decoded(raw: bytes) -> _Wire:
    try:
        wire = _wire.decode(raw)
        if wire.body:
            _anything.decode(wire.body)  # Raw is not looked into: it may hold bad UTF-8.
        return wire
    except msgspec.ValidationError as error:
        raise BadLine("invalid_request", f"The line: {error}.", "", _name_in(raw)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"The line is not valid JSON: {error}"
        raise BadLine("invalid_json_line", message, "", None) from None


def _name_in(raw: bytes) -> str | None:
    try:
        return _named.decode(raw).custom_id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _model_of(body: bytes, name: str) -> str | None:
    try:
        found = _body.decode(body)
    except msgspec.MsgspecError as error:
        raise BadLine("invalid_request", f"body: {error}.", "body", name) from None
    if found.stream:
        raise BadLine(
            "invalid_request", "stream: leave it out; a batch keeps whole answers.", "stream", name
        )
    return found.model
