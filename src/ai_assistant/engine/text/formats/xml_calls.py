"""Calls whose arguments stand between tags: Qwen3-Coder, GLM, MiniMax, DeepSeek's DSML.

The values have no types of their own; the function's schema gives them. Strings stream.
"""

import json
import re
from collections.abc import Generator

from ai_assistant.engine.text.formats.json_calls import close, json_calls
from ai_assistant.engine.text.formats.markup import CallReader, Emitter
from ai_assistant.engine.text.formats.reader import Markers, Wait
from ai_assistant.engine.text.formats.schema_types import STRING, escaped, json_of, parameter_types

_NAME = re.compile(r"[\w.:/-]+")
_ATTRIBUTE = re.compile(r'name\s*=\s*"([^"]+)"')
_TAG_END = Markers(">")
_PARAMETER_END = Markers("\n</parameter>", "</parameter>")
_GLM_HEAD = Markers("\n", "<arg_key>", "</tool_call>")
_GLM_KEY_END = Markers("</arg_key>")
_GLM_VALUE_END = Markers("</arg_value>")


def tool_call(out: Emitter, _start: str) -> Wait[bool]:
    """After `<tool_call>`: JSON (Hermes, Qwen), `<function=…>` (Qwen3-Coder) or a name (GLM)."""
    return (yield from out.reader.attempt(_tool_call(out)))


def function_call(out: Emitter, _start: str) -> Wait[bool]:
    """After `<function=`, where `<tool_call>` was left out."""
    done = yield from out.reader.attempt(_functions(out))
    if done:
        yield from close(out, "</tool_call>")
    return done


def _tool_call(out: Emitter) -> Wait[bool]:
    reader = out.reader
    yield from reader.spaces()
    if (yield from reader.peek()) in ("{", "["):
        done = yield from json_calls(out)
    elif (yield from reader.skip("<function=")):
        done = yield from _functions(out)
    else:
        done = yield from _glm(out)
    if done:
        yield from close(out, "</tool_call>")
    return done


def _functions(out: Emitter) -> Wait[bool]:
    """Calls after `<function=`, the tag of the first one."""
    head = yield from out.reader.name(_TAG_END)
    if head is None or not _NAME.fullmatch(name := head[0].strip("\"'")):
        return False
    yield from _function_body(out, name)
    while (yield from out.reader.attempt(_next_function(out))):
        pass
    return True


def _next_function(out: Emitter) -> Wait[bool]:
    yield from out.reader.spaces()
    if not (yield from out.reader.skip("<function=")):
        return False
    head = yield from out.reader.name(_TAG_END)
    if head is None or not _NAME.fullmatch(name := head[0].strip("\"'")):
        return False
    yield from _function_body(out, name)
    return True


def _function_body(out: Emitter, name: str) -> Wait[None]:
    reader = out.reader
    out.begin(name)
    yield from reader.spaces()
    if (yield from reader.peek()) == "{":
        if (yield from reader.json_value(out.argue)):
            out.end()
    else:
        arguments = Arguments(out, name)
        while (yield from reader.skip("<parameter=")):
            key = yield from reader.name(_TAG_END)
            if key is None:
                break
            yield from reader.skip("\n")
            if not (yield from arguments.value(key[0].strip("\"'"), _PARAMETER_END)):
                return
            yield from reader.spaces()
        yield from arguments.close()
    yield from close(out, "</function>")


def _glm(out: Emitter) -> Wait[bool]:
    reader = out.reader
    head = yield from reader.name(_GLM_HEAD)
    if head is None or not _NAME.fullmatch(head[0]):
        return False
    name, mark = head
    if mark == "</tool_call>":
        reader.put_back(mark)
    elif mark == "\n":
        yield from reader.spaces()
    more = mark == "<arg_key>" or (yield from reader.skip("<arg_key>"))
    if not more and not (name in out.schemas and (yield from reader.at("</tool_call>"))):
        return False
    out.begin(name)
    arguments = Arguments(out, name)
    while more:
        key = yield from reader.name(_GLM_KEY_END)
        if key is None:
            break
        yield from reader.spaces()
        if not (yield from reader.skip("<arg_value>")):
            break
        if not (yield from arguments.value(key[0], _GLM_VALUE_END)):
            return True
        yield from reader.spaces()
        more = yield from reader.skip("<arg_key>")
    yield from arguments.close()
    return True


def invoke_calls(prefix: str, sections: tuple[str, ...]) -> CallReader:
    """The reader of `<invoke name="…"><parameter name="…">…`, each tag's name with `prefix`.

    It starts after a section's start tag.
    """
    tags = _InvokeTags(prefix)

    def read(out: Emitter, _start: str) -> Wait[bool]:
        if not (yield from out.reader.attempt(tags.call(out))):
            return False
        while (yield from out.reader.attempt(tags.call(out))):
            pass
        for section in sections:
            yield from close(out, section)
        return True

    return read


class _InvokeTags:
    def __init__(self, prefix: str) -> None:
        self._invoke = f"<{prefix}invoke "
        self._invoke_end = f"</{prefix}invoke>"
        self._parameter = f"<{prefix}parameter "
        self._parameter_end = Markers(f"</{prefix}parameter>")

    def call(self, out: Emitter) -> Wait[bool]:
        """One call."""
        name = yield from self._open(out, self._invoke)
        if name is None or not _NAME.fullmatch(name[0]):
            return False
        out.begin(name[0])
        arguments = Arguments(out, name[0])
        while (yield from out.reader.attempt(self._parameter_next(out))):
            key = yield from self._open(out, self._parameter)
            if key is None:
                break
            is_string = 'string="true"' in key[1]
            if not (yield from arguments.value(key[0], self._parameter_end, string=is_string)):
                return True
        yield from arguments.close()
        yield from close(out, self._invoke_end)
        return True

    def _parameter_next(self, out: Emitter) -> Wait[bool]:
        yield from out.reader.spaces()
        return (yield from out.reader.at(self._parameter))

    def _open(self, out: Emitter, start: str) -> Wait[tuple[str, str] | None]:
        """A tag that starts with `start`: the name in it, and all that is in it."""
        yield from out.reader.spaces()
        if not (yield from out.reader.skip(start)):
            return None
        inside = yield from out.reader.name(_TAG_END)
        named = _ATTRIBUTE.search(inside[0]) if inside else None
        return (named.group(1), inside[0]) if inside and named else None


class Arguments:
    """Writes the arguments of one call, parameter by parameter."""

    def __init__(self, out: Emitter, function: str) -> None:
        self._out = out
        self._schema = out.schemas.get(function)
        self._next = "{"

    def value(
        self, key: str, ends: Markers, *, string: bool = False
    ) -> Generator[None, None, bool]:
        """Read the value of `key` up to its end; False where the text ends first."""
        out = self._out
        types = STRING if string else parameter_types(self._schema, key)
        out.argue(f"{self._next}{json.dumps(key, ensure_ascii=False)}: ")
        self._next = ", "
        if types == STRING:
            out.argue('"')
            end = yield from out.reader.until(ends, lambda text: out.argue(escaped(text)))
            out.argue('"' if end else "")
            return end is not None
        parts: list[str] = []
        end = yield from out.reader.until(ends, parts.append)
        text = "".join(parts)
        out.argue(json_of(text, types) if end else text)
        return end is not None

    def close(self) -> Wait[None]:
        """The arguments are complete, unless the output ends here: then they may be cut off."""
        if not (yield from self._out.reader.peek()):
            return
        self._out.argue("{}" if self._next == "{" else "}")
        self._out.end()
