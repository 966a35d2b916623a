"""The one door to RE2: expressions whose time is linear in the text, whatever the text."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import re2

_re2: Any = re2
_MEMORY = 64 << 20


class BadPattern(ValueError):
    """An expression that RE2 does not take; the message says why."""


class Match(NamedTuple):
    """Where an expression fits, and the first of its groups that took part."""

    start: int
    end: int
    group_start: int
    group_end: int


class Expression:
    """Searches bytes; raises `BadPattern`."""

    def __init__(self, pattern: str, *, any_case: bool = False, longest: bool = False) -> None:
        try:
            self._compiled: Any = _re2.compile(
                pattern.encode("utf-8", "replace"), _options(any_case=any_case, longest=longest)
            )
        except _re2.error as error:
            raise BadPattern(_reason(error)) from error

    def matches(self, data: bytes, group: int = 0) -> Iterator[Match]:
        """All places; `group` 0 means the first group that took part, or else the whole."""
        for found in self._compiled.finditer(data):
            start, end = found.span()
            number = group or next(
                (one for one in range(1, self._compiled.groups + 1) if found.span(one)[0] >= 0), 0
            )
            yield Match(start, end, *found.span(number))

    def fits(self, data: bytes) -> bool:
        """Whether it fits anywhere."""
        return self._compiled.search(data) is not None


class ExpressionSet:
    """Many expressions in one pass: which of them fit."""

    def __init__(
        self, patterns: Sequence[str], *, whole: bool = False, literal: bool = False
    ) -> None:
        """`whole`: the text must fit from end to end; `literal`: the patterns are plain words."""
        chosen = _options(any_case=True, literal=literal)
        self._set: Any = _re2.Set.FullMatchSet(chosen) if whole else _re2.Set.SearchSet(chosen)
        for pattern in patterns:
            self._set.Add(pattern)
        self._set.Compile()

    def fitting(self, text: str) -> list[int]:
        """Their positions in `patterns`."""
        return cast("list[int]", self._set.Match(text) or [])


def escaped(word: str) -> str:
    """An expression for exactly this word."""
    return cast("str", _re2.escape(word))


def _options(*, any_case: bool, longest: bool = False, literal: bool = False) -> Any:
    options = _re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    options.case_sensitive = not any_case
    options.longest_match = longest
    options.literal = literal
    return options


def _reason(error: Any) -> str:
    reason: object = error.args[0] if error.args else error
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
