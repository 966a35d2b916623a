"""Calls written as JSON: `{"name": …, "arguments": {…}}`, with many wrappers."""

from ai_assistant.engine.text.formats.markup import Emitter
from ai_assistant.engine.text.formats.reader import Markers, Wait

_ARGUMENTS = frozenset(("arguments", "parameters"))
_MISTRAL_HEAD = Markers("[ARGS]", "[CALL_ID]", "{")
_MISTRAL_ID = Markers("[ARGS]", "{")


def json_calls(out: Emitter, *, known_only: bool = False) -> Wait[bool]:
    """One call, a list of calls, or several one after another.

    With `known_only` the object must look like a call from its first key on and name a function
    that exists: for formats that set calls off from content by nothing else.
    """
    reader = out.reader
    listed = yield from reader.attempt(_first_in_list(out, known_only))
    if not listed and not (yield from reader.attempt(_JsonCall(out, known_only).read())):
        return False
    while (yield from reader.attempt(_next_call(out, known_only))):
        pass
    if listed:
        yield from reader.attempt(_after_spaces(out, "]"))
    return True


def bare_call(out: Emitter, _start: str) -> Wait[bool]:
    """Llama 3: calls without any marker."""
    if (yield from out.reader.peek()) != "{":
        return False
    return (yield from json_calls(out, known_only=True))


def python_tag_call(out: Emitter, _start: str) -> Wait[bool]:
    """Llama 3: after `<|python_tag|>`, where code may stand as well."""
    return (yield from json_calls(out))


def mistral_call(out: Emitter, _start: str) -> Wait[bool]:
    """After `[TOOL_CALLS]`: a list of JSON calls, or `name[ARGS]{…}`."""
    return (yield from out.reader.attempt(_mistral(out)))


def close(out: Emitter, literal: str) -> Wait[None]:
    """Take an end marker, if it is what comes next."""
    yield from out.reader.attempt(_after_spaces(out, literal))


def _mistral(out: Emitter) -> Wait[bool]:
    yield from out.reader.spaces()
    if (yield from out.reader.peek()) in ("[", "{"):
        return (yield from json_calls(out))
    head = yield from out.reader.name(_MISTRAL_HEAD)
    if head is None:
        return False
    name, mark = head
    id: str | None = None
    if mark == "[CALL_ID]":
        tail = yield from out.reader.name(_MISTRAL_ID)
        if tail is None:
            return False
        id, mark = tail
    if mark == "{":
        out.reader.put_back(mark)
    elif not (yield from _after_spaces(out, "{", take=False)):
        return False
    if not name or any(letter.isspace() for letter in name):
        return False
    out.begin(name, id)
    if (yield from out.reader.json_value(out.argue)):
        out.end()
    return True


def _after_spaces(out: Emitter, literal: str, *, take: bool = True) -> Wait[bool]:
    yield from out.reader.spaces()
    if take:
        return (yield from out.reader.skip(literal))
    return (yield from out.reader.at(literal))


def _first_in_list(out: Emitter, known_only: bool) -> Wait[bool]:
    if not (yield from _after_spaces(out, "[")):
        return False
    return (yield from _JsonCall(out, known_only).read())


def _next_call(out: Emitter, known_only: bool) -> Wait[bool]:
    yield from out.reader.spaces()
    if not (yield from out.reader.skip(",")):
        yield from out.reader.skip(";")
    return (yield from _JsonCall(out, known_only).read())


class _JsonCall:
    """One object, its keys in any order. The call begins where name and arguments are known."""

    def __init__(self, out: Emitter, known_only: bool) -> None:
        self._out = out
        self._known_only = known_only
        self._name: str | None = None
        self._id: str | None = None
        self._held: str | None = None
        self._nested = self._begun = False

    def read(self) -> Wait[bool]:
        """The whole object. What breaks off after its beginning is a call all the same."""
        if not (yield from _after_spaces(self._out, "{")):
            return False
        if not (yield from self._members()):
            return self._begun
        if not self._begun:
            if self._name is None:
                return False
            self._out.begin(self._name, self._id)
            self._out.argue(self._held or "{}")
            self._out.end()
        return True

    def _members(self) -> Wait[bool]:
        reader = self._out.reader
        while not (yield from reader.attempt(_after_spaces(self._out, "}"))):
            if not (yield from reader.attempt(self._member())):
                return False
        return True

    def _member(self) -> Wait[bool]:
        reader = self._out.reader
        yield from reader.spaces()
        key = yield from reader.json_text()
        if key is None or not (yield from _after_spaces(self._out, ":")):
            return False
        yield from reader.spaces()
        if not (yield from self._value(key)):
            return False
        yield from reader.attempt(_after_spaces(self._out, ","))
        return True

    def _value(self, key: str) -> Wait[bool]:
        reader = self._out.reader
        first = yield from reader.peek()
        if key == "function" and first == "{" and not self._nested:
            self._nested = True
            return (yield from reader.skip("{")) and (yield from self._members())
        if key in ("name", "function") and self._name is None:
            self._name = yield from reader.json_text()
            return self._name is not None and self._may_be_called(self._name)
        if key in _ARGUMENTS and not self._begun:
            return (yield from self._arguments(first))
        if key == "id" and first == '"':
            self._id = yield from reader.json_text()
            return self._id is not None
        if self._known_only and key not in ("type", "id"):
            return False
        return (yield from reader.json_value(_drop))

    def _may_be_called(self, name: str) -> bool:
        return name in self._out.schemas if self._known_only else bool(name)

    def _arguments(self, first: str) -> Wait[bool]:
        reader = self._out.reader
        if first == "{" and self._name is not None:
            self._begun = True
            self._out.begin(self._name, self._id)
            if (yield from reader.json_value(self._out.argue)):
                self._out.end()
            return True
        if first == '"':
            self._held = yield from reader.json_text()
            return self._held is not None
        parts: list[str] = []
        complete = yield from reader.json_value(parts.append)
        self._held = "".join(parts)
        if self._held == "null":
            self._held = "{}"
        return complete and self._held.startswith("{")


def _drop(_text: str) -> None:
    """Nobody asked for it."""
