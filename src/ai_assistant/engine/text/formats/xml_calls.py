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


def function_call(out: Emitter, start: str) -> Wait[bool]:
    """From `<function=` on, where `<tool_call>` was left out; the function must exist."""
    out.reader.put_back(start)
    done = yield from out.reader.attempt(_functions(out, known_only=True))
    if not done:
        out.reader.take(len(start))
        return False
    yield from close(out, "</tool_call>")
    return True


def _tool_call(out: Emitter) -> Wait[bool]:
    reader = out.reader
    yield from reader.spaces()
    if (yield from reader.peek()) in ("{", "["):
        done = yield from json_calls(out)
    elif (yield from reader.at("<function=")):
        done = yield from _functions(out)
    else:
        done = yield from _glm(out)
    if done:
        yield from close(out, "</tool_call>")
    return done


def _functions(out: Emitter, *, known_only: bool = False) -> Wait[bool]:
    """One call or several, from `<function=` on."""
    if not (yield from _function(out, known_only)):
        return False
    while (yield from out.reader.attempt(_function(out, known_only))):
        pass
    return True


def _function(out: Emitter, known_only: bool) -> Wait[bool]:
    reader = out.reader
    yield from reader.spaces()
    name = _unquoted((yield from reader.between("<function=", _TAG_END)))
    if not _NAME.fullmatch(name) or (known_only and name not in out.schemas):
        return False
    out.begin(name)
    yield from reader.spaces()
    if (yield from reader.peek()) == "{":
        if (yield from reader.json_value(out.argue)):
            out.end()
    elif not (yield from _parameters(out, name)):
        return True
    yield from close(out, "</function>")
    return True


def _parameters(out: Emitter, function: str) -> Wait[bool]:
    reader = out.reader
    arguments = Arguments(out, function)
    while (key := (yield from reader.between("<parameter=", _TAG_END))) is not None:
        yield from reader.skip("\n")
        if not (yield from arguments.value(_unquoted(key), _PARAMETER_END)):
            return False
        yield from reader.spaces()
    yield from arguments.close()
    return True


def _unquoted(name: str | None) -> str:
    return (name or "").strip("\"'")


def _glm(out: Emitter) -> Wait[bool]:
    reader = out.reader
    head = yield from reader.name(_GLM_HEAD)
    if head is None or not _NAME.fullmatch(head[0]):
        return False
    name, mark = head
    if mark != "\n":
        reader.put_back(mark)
    yield from reader.spaces()
    if not (yield from reader.at("<arg_key>")) and not (
        name in out.schemas and (yield from reader.at("</tool_call>"))
    ):
        return False
    out.begin(name)
    arguments = Arguments(out, name)
    while (yield from reader.attempt(_glm_key(out, keys := []))):
        if not (yield from arguments.value(keys[0], _GLM_VALUE_END)):
            return True
    yield from arguments.close()
    return True


def _glm_key(out: Emitter, keys: list[str]) -> Wait[bool]:
    reader = out.reader
    yield from reader.spaces()
    key = yield from reader.between("<arg_key>", _GLM_KEY_END)
    yield from reader.spaces()
    keys.append(key or "")
    return key is not None and (yield from reader.skip("<arg_value>"))


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
        yield from out.reader.spaces()
        head = yield from out.reader.between(self._invoke, _TAG_END)
        name = _ATTRIBUTE.search(head or "")
        if not name or not _NAME.fullmatch(name.group(1)):
            return False
        out.begin(name.group(1))
        arguments = Arguments(out, name.group(1))
        while (yield from out.reader.attempt(self._key(out, tags := []))):
            is_string = 'string="true"' in tags[0]
            key = _ATTRIBUTE.findall(tags[0])[0]
            if not (yield from arguments.value(key, self._parameter_end, string=is_string)):
                return True
        yield from arguments.close()
        yield from close(out, self._invoke_end)
        return True

    def _key(self, out: Emitter, tags: list[str]) -> Wait[bool]:
        yield from out.reader.spaces()
        tag = yield from out.reader.between(self._parameter, _TAG_END)
        tags.append(tag or "")
        return _ATTRIBUTE.search(tags[0]) is not None


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
