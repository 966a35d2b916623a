"""Calls in a section of control tokens: DeepSeek R1, V3 and V3.1, and Kimi K2."""

import re
from typing import NamedTuple

from ai_assistant.engine.text.formats.json_calls import close
from ai_assistant.engine.text.formats.markup import CallReader, Emitter
from ai_assistant.engine.text.formats.reader import Markers, Wait

_LINE_END = Markers("\n")
_KIMI_ID = re.compile(r"functions\.(.+):\d+")


class Section(NamedTuple):
    """The control tokens of one family."""

    begin: str
    call_begin: str
    separator: str
    call_end: str
    end: str


DEEPSEEK = Section(
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁sep｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁calls▁end｜>",
)
KIMI = Section(
    "<|tool_calls_section_begin|>",
    "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
    "<|tool_calls_section_end|>",
)


def section_calls(tokens: Section) -> CallReader:
    """The reader of a section; it starts after its begin token or after a call's."""
    separator = Markers(tokens.separator)

    def read(out: Emitter, start: str) -> Wait[bool]:
        within = start == tokens.call_begin
        if not (yield from out.reader.attempt(call(out, within))):
            return False
        while (yield from out.reader.attempt(call(out, within=False))):
            pass
        yield from close(out, tokens.end)
        return True

    def call(out: Emitter, within: bool) -> Wait[bool]:
        reader = out.reader
        if not within:
            yield from reader.spaces()
            if not (yield from reader.skip(tokens.call_begin)):
                return False
        head = yield from reader.name(separator)
        name = (yield from _name(out, head[0])) if head else None
        if not head or not name:
            return False
        out.begin(name, head[0] if tokens is KIMI else None)
        if (yield from reader.json_value(out.argue)):
            out.end()
        yield from close(out, "```")
        yield from close(out, tokens.call_end)
        return True

    return read


def _name(out: Emitter, head: str) -> Wait[str | None]:
    """The function's name: before the separator, or after it and before a block of code."""
    reader = out.reader
    yield from reader.spaces()
    if (yield from reader.peek()) == "{":
        kimi = _KIMI_ID.fullmatch(head)
        return kimi.group(1) if kimi else head.removeprefix("functions.")
    line = yield from reader.name(_LINE_END)
    yield from reader.spaces()
    yield from reader.skip("```json")
    yield from reader.spaces()
    return line[0] if line and (yield from reader.at("{")) else None
