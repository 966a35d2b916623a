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
_BARE_END = Markers(",", "}", "]")
_DEPTH = 64


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
    yield from ()
    return True


def call(out: Emitter, _start: str) -> Wait[bool]:
    """After `<|tool_call>`."""
    if not (yield from out.reader.attempt(_head(out))):
        return False
    if (yield from _group(out, "}", 0)):
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


def _group(out: Emitter, closer: str, depth: int) -> Wait[bool]:
    """What stands in brackets, as JSON; False where it breaks off."""
    reader = out.reader
    out.argue("{" if closer == "}" else "[")
    separator = ""
    while depth < _DEPTH:
        yield from reader.spaces()
        if (yield from reader.skip(closer)):
            out.argue(closer)
            return True
        if separator and not (yield from reader.skip(",")):
            return False
        out.argue(separator)
        separator = ", "
        if closer == "}" and not (yield from reader.attempt(_key(out))):
            return False
        if not (yield from _value(out, depth)):
            return False
    return False


def _key(out: Emitter) -> Wait[bool]:
    reader = out.reader
    yield from reader.spaces()
    if (yield from reader.skip(QUOTE)):
        found = yield from reader.name(_QUOTE)
        key = found[0] if found and (yield from reader.skip(":")) else None
    elif (yield from reader.peek()) == '"':
        key = yield from reader.json_text()
        yield from reader.spaces()
        key = key if (yield from reader.skip(":")) else None
    else:
        found = yield from reader.name(_KEY_END)
        key = found[0] if found else None
    if key is not None:
        out.argue(json.dumps(key, ensure_ascii=False) + ": ")
    return key is not None


def _value(out: Emitter, depth: int) -> Wait[bool]:
    reader = out.reader
    yield from reader.spaces()
    if (yield from reader.skip(QUOTE)):
        out.argue('"')
        end = yield from reader.until(_QUOTE, lambda text: out.argue(escaped(text)))
        out.argue('"' if end else "")
        return end is not None
    if (yield from reader.skip("{")):
        return (yield from _group(out, "}", depth + 1))
    if (yield from reader.skip("[")):
        return (yield from _group(out, "]", depth + 1))
    if (yield from reader.peek()) == '"':
        return (yield from reader.json_value(out.argue))
    parts: list[str] = []
    end = yield from reader.until(_BARE_END, parts.append)
    text = "".join(parts).strip()
    out.argue(json_of(text, frozenset()) if end else text)
    if end is not None:
        reader.put_back(end)
    return end is not None
