"""Stretches of digits, with what stands between them, as the number detectors share them."""

import re
from collections.abc import Iterator
from functools import cached_property

from ai_assistant.policy.view import Checked

_RUN = re.compile(r"[0-9](?:[ \-./()]{0,2}[0-9])+")
_GROUP = re.compile(r"[0-9]+")
_BEFORE, _AFTER = 48, 16
_MOST_GROUPS, _STEP = 64, 44
"""Longer tables of numbers are searched in overlapping pieces of so many groups."""


class Run:
    """Digits of the view from `start` to `end`, at most two separators between two of them."""

    def __init__(self, text: str, lower: str, start: int, end: int, checked: Checked) -> None:
        self.text = text
        self.lower = lower
        self.start = start
        self.end = end
        self.raw = text[start:end]
        self.checked = checked
        self.groups = [match.span() for match in _GROUP.finditer(text, start, end)]
        self.sizes = tuple(last - first for first, last in self.groups)
        self.count = sum(self.sizes)
        """Digits in all groups."""

    def digits(self, first: int, count: int) -> str:
        """The digits of some groups."""
        return "".join([self.text[a:b] for a, b in self.groups[first : first + count]])

    @property
    def glued_before(self) -> bool:
        """Whether a letter or digit touches it on the left."""
        return self.start > 0 and _is_word(self.text[self.start - 1])

    @property
    def glued_after(self) -> bool:
        """Whether a letter or digit touches it on the right."""
        return self.end < len(self.text) and _is_word(self.text[self.end])

    @cached_property
    def context(self) -> str:
        """The words around it, in small letters."""
        return context(self.lower, self.start, self.end)


def context(lower: str, start: int, end: int) -> str:
    """The words before and after, as far as they may belong to it."""
    return f"{lower[max(0, start - _BEFORE) : start]}\n{lower[end : end + _AFTER]}"


def runs(text: str, lower: str, checked: Checked, fewest: int = 7) -> Iterator[Run]:
    """The runs with at least so many digits."""
    for match in _RUN.finditer(text):
        if match.end() - match.start() < fewest:
            continue
        run = Run(text, lower, *match.span(), checked)
        if run.count < fewest:
            continue
        if len(run.groups) <= _MOST_GROUPS:
            yield run
            continue
        for first in range(0, len(run.groups), _STEP):
            part = run.groups[first : first + _MOST_GROUPS]
            yield Run(text, lower, part[0][0], part[-1][1], checked)


def _is_word(character: str) -> bool:
    return character.isascii() and character.isalnum()
