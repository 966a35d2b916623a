"""Gemma 4: thoughts in a channel, calls as `call:name{key:<|"|>text<|"|>,…}`."""

import json

from ai_assistant.engine.text.formats.json_calls import close
from ai_assistant.engine.text.formats.markup import Emitter
from ai_assistant.engine.text.formats.reader import Markers, Wait
from ai_assistant.engine.text.formats.schema_types import escaped, json_of

QUOTE = '<|"|>'
CHANNEL = "<|channel>"
CHANNEL_END = "<channel|>"
CALL = "<|tool_call>"
CALL_END = "<tool_call|>"
MARKERS = frozenset((QUOTE, CHANNEL, CHANNEL_END, CALL, CALL_END))

_HEAD = Markers("{")
_QUOTE = Markers(QUOTE)
_CHANNEL_END = Markers(CHANNEL_END)
_KEY_END = Markers(":")


def channel(out: Emitter, _start: str) -> Wait[bool]:
    """After `<|channel>`: thoughts; a channel that opens twice opens once."""
    reader = out.reader
    while (yield from reader.skip(CHANNEL)):
        pass
    out.thought()
    if (yield from reader.skip("thought")):
        yield from reader.skip("\n")
    yield from reader.until(_CHANNEL_END, out.think)
    out.thought()
    return True


def stray_end(out: Emitter, _start: str) -> Wait[bool]:
    """An end without a beginning says nothing."""
    yield from out.reader.attempt(_nothing())
    return True


def _nothing() -> Wait[bool]:
    return True
    yield


def call(out: Emitter, _start: str) -> Wait[bool]:
    """After `<|tool_call>`."""
    if not (yield from out.reader.attempt(_head(out))):
        return False
    if (yield from _object(out, first="{")) and (yield from out.reader.peek()):
        out.end()
    yield from close(out, CALL_END)
    return True


def _head(out: Emitter) -> Wait[bool]:
    yield from out.reader.spaces()
    if not (yield from out.reader.skip("call:")):
        return False
    head = yield from out.reader.name(_HEAD)
    if head is None or not head[0] or any(letter.isspace() for letter in head[0]):
        return False
    out.begin(head[0])
    return True
