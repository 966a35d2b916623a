"""Reading a text that is still being written: wait for as much as a decision needs.

The methods are generators: they yield where more text is needed, so that a format can be read
by plain sequential code. What they decide depends on the text alone, not on how it was split.
"""

import json
import re
from collections.abc import Callable, Generator
from typing import TypeAlias, TypeVar

T = TypeVar("T")
Wait: TypeAlias = Generator[None, None, T]
Emit: TypeAlias = Callable[[str], None]

_OUTSIDE_STRING = re.compile(r'["{}\[\]]')
_INSIDE_STRING = re.compile(r'["\\\x00-\x1f]')
_SCALAR_END = re.compile(r"[,}\]\s]")
MAX_NAME = 256
"""Characters of a function's name or a parameter's; more is no call."""


class Markers:
    """Texts to look for. None may be the beginning of another."""

    def __init__(self, *literals: str) -> None:
        ordered = sorted(literals, key=len, reverse=True)
        self.search = re.compile("|".join(map(re.escape, ordered)) or "(?!)").search
        self._prefixes = {text[:n] for text in literals for n in range(1, len(text))}
        self._longest = max(map(len, literals), default=1)

    def certain(self, text: str) -> int:
        """How many characters of `text` cannot be the beginning of a marker."""
        end = len(text)
        for start in range(max(0, end - self._longest + 1), end):
            if text[start:] in self._prefixes:
                return start
        return end


class Reader:
    """The text that came and was not taken yet."""

    def __init__(self) -> None:
        self.text = ""
        self.ended = False
        self._log: list[str] | None = None

    def more(self) -> Wait[bool]:
        """Wait for text; False at the end."""
        if self.ended:
            return False
        yield
        return True

    def take(self, count: int) -> str:
        """The next `count` characters, which are there already."""
        taken, self.text = self.text[:count], self.text[count:]
        if self._log is not None:
            self._log.append(taken)
        return taken

    def put_back(self, taken: str) -> None:
        """Undo the last `take`, which gave `taken`."""
        self.text = taken + self.text
        if self._log:
            self._log.pop()

    def attempt(self, parse: Wait[bool]) -> Wait[bool]:
        """Run `parse`; where it answers False, everything it took is put back."""
        outer = self._log
        log = self._log = list[str]()
        done = yield from parse
        committed = self._log is not log
        self._log = None if committed else outer
        if not done:
            self.text = "".join(log) + self.text
        elif self._log is not None:
            self._log += log
        return done

    def commit(self) -> None:
        """From here on the attempts that run cannot fail."""
        self._log = None

    def peek(self) -> Wait[str]:
        """The next character, or nothing at the end."""
        while not self.text:
            if not (yield from self.more()):
                return ""
        return self.text[0]

    def spaces(self) -> Wait[str]:
        """Take white space, as much as there is."""
        taken = ""
        while True:
            taken += self.take(len(self.text) - len(self.text.lstrip()))
            if self.text or not (yield from self.more()):
                return taken

    def at(self, literal: str) -> Wait[bool]:
        """Whether `literal` is next."""
        while len(self.text) < len(literal) and literal.startswith(self.text):
            if not (yield from self.more()):
                return False
        return self.text.startswith(literal)

    def skip(self, literal: str) -> Wait[bool]:
        """Take `literal` if it is next."""
        found = yield from self.at(literal)
        if found:
            self.take(len(literal))
        return found

    def until(self, markers: Markers, emit: Emit) -> Wait[str | None]:
        """Give `emit` the text before the first marker as it comes; take and return that marker.

        None at the end of the text.
        """
        while True:
            found = markers.search(self.text)
            if found:
                if found.start():
                    emit(self.take(found.start()))
                return self.take(len(found.group()))
            certain = len(self.text) if self.ended else markers.certain(self.text)
            if certain:
                emit(self.take(certain))
            if not (yield from self.more()):
                return None

    def name(self, markers: Markers) -> Wait[tuple[str, str] | None]:
        """A short text and the marker that ends it."""
        parts: list[str] = []
        size = 0
        while True:
            found = markers.search(self.text)
            end = found.start() if found else markers.certain(self.text)
            size += end
            if size > MAX_NAME:
                return None
            parts.append(self.take(end))
            if found:
                return "".join(parts).strip(), self.take(len(found.group()))
            if not (yield from self.more()):
                return None

    def between(self, start: str, ends: Markers) -> Wait[str | None]:
        """A short text between `start` and a marker; where there is none, nothing is taken."""
        found: list[str] = []

        def read() -> Wait[bool]:
            inside = (yield from self.name(ends)) if (yield from self.skip(start)) else None
            found.extend(inside[:1] if inside else ())
            return inside is not None

        return found[0] if (yield from self.attempt(read())) else None

    def json_text(self) -> Wait[str | None]:
        """A JSON string, decoded; None where there is none."""
        if (yield from self.peek()) != '"':
            return None
        parts: list[str] = []
        if not (yield from self.json_value(parts.append)):
            return None
        try:
            value = json.loads("".join(parts))
        except ValueError:
            return None
        return value if isinstance(value, str) else None

    def json_value(self, emit: Emit) -> Wait[bool]:
        """Give `emit` a JSON value as it comes; False where the text ends before it does.

        Only brackets and quotes are looked at: what is between them is the model's affair,
        except that raw line breaks in strings become escapes.
        """
        if (yield from self.peek()) not in ("{", "[", '"'):
            return (yield from self._json_scalar(emit))
        depth, inside = 0, False
        while True:
            size, depth, inside = _scan(self.text, depth, inside, emit)
            self.take(size)
            if size and not depth and not inside:
                return True
            if not (yield from self.more()):
                if self.text:
                    emit(self.take(len(self.text)))
                return False

    def _json_scalar(self, emit: Emit) -> Wait[bool]:
        while True:
            found = _SCALAR_END.search(self.text)
            taken = self.take(found.start() if found else len(self.text))
            if taken:
                emit(taken)
            if found:
                return True
            if not (yield from self.more()):
                return False


def _scan(text: str, depth: int, inside: bool, emit: Emit) -> tuple[int, int, bool]:
    """Emit the JSON in `text` up to its end; the size of that, and the state there."""
    at = start = 0
    parts: list[str] = []
    while at < len(text):
        found = (_INSIDE_STRING if inside else _OUTSIDE_STRING).search(text, at)
        if found is None:
            at = len(text)
            break
        mark, at = found.group(), found.end()
        if mark == '"':
            inside = not inside
        elif mark == "\\":
            if at == len(text):  # what it escapes is still to come
                at -= 1
                break
            at += 1
        elif inside:
            parts.append(text[start : at - 1] + json.dumps(mark)[1:-1])
            start = at
        else:
            depth += 1 if mark in "{[" else -1
        if not depth and not inside:
            break
    parts.append(text[start:at])
    joined = "".join(parts)
    if joined:
        emit(joined)
    return at, depth, inside
