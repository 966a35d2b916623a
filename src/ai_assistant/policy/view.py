"""Text as detectors read it: width, digits of other scripts, dashes and spaces made plain.

A view has the same positions as the text unless something was dropped (zero-width characters,
combining marks) or shortened (JSON's escapes); then `span` maps back.
"""

import re
import unicodedata
from functools import cached_property

_DASHES = frozenset("‐‑‒–—―−﹘﹣－⁃﹏")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_SPACING = re.compile(r'\\+[nrt"/bf]')
_DROPPED = frozenset({"Cf", "Mn", "Me"})
_MANY = 24
"""Different characters to change, up to which it is quicker to change one after the other."""


class _Fold(dict[int, str]):
    """For each character its plain form; filled as characters are met."""

    def __init__(self) -> None:
        super().__init__()
        self.uneven: set[str] = set()
        """Characters whose plain form is not one character."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        plain = _plain(character)
        self[code] = plain
        if len(plain) != 1:
            self.uneven.add(character)
        return plain


def _plain(character: str) -> str:
    category = unicodedata.category(character)
    if category in _DROPPED:
        return ""
    if character in _DASHES:
        return "-"
    if category == "Zs":
        return " "
    if (digit := unicodedata.decimal(character, None)) is not None:
        return str(digit)
    wide = unicodedata.normalize("NFKD", character)
    base = "".join(one for one in wide if unicodedata.category(one) not in _DROPPED)
    if len(base) == 1:
        return base if base == character else _FOLD[ord(base)]
    return base if base.isascii() and base.isalnum() else character


_FOLD = _Fold()


Checked = dict[tuple[str, str], bool]
"""What the checks of one scan said, by kind and candidate: a number near a seam is met again."""


class View:
    """One text, folded. `text` is what detectors search."""

    def __init__(self, raw: str, checked: Checked | None = None) -> None:
        self.text = raw
        self.checked: Checked = {} if checked is None else checked
        self._places: list[tuple[int, int]] | None = None
        """Where each character of the view stands in the raw text; None: at the same position."""
        if "\\" in raw:
            self._unescape()
        if not self.text.isascii():
            self._fold()

    @cached_property
    def lower(self) -> str:
        """The same positions in small letters."""
        small = self.text.lower()
        return small if len(small) == len(self.text) else self.text

    @cached_property
    def ascii(self) -> bytes:
        """The same positions as bytes; what is not ASCII is a question mark."""
        return self.text.encode("ascii", "replace")

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Positions in the raw text of a stretch of the view that is not empty."""
        if self._places is None:
            return start, end
        return self._places[start][0], self._places[end - 1][1]

    def _unescape(self) -> None:
        text = _SPACING.sub(lambda match: " " * len(match[0]), self.text)
        self.text = text
        if "\\u" not in text:
            return
        pieces: list[str] = []
        places: list[tuple[int, int]] = []
        begun = 0
        for match in _ESCAPE.finditer(text):
            start, end = match.span()
            pieces += [text[begun:start], _code_point(match[1])]
            places += [*_each(begun, start), (start, end)]
            begun = end
        self.text = "".join(pieces) + text[begun:]
        self._places = [*places, *_each(begun, len(text))]

    def _fold(self) -> None:
        text = self.text
        met = set(text)
        changed = {one: plain for one in met if (plain := _FOLD[ord(one)]) != one}
        if len(changed) > _MANY:
            self.text = text.translate(_FOLD)
        else:  # plain forms are never changed again, so one after the other is as good
            for one, plain in changed.items():
                self.text = self.text.replace(one, plain)
        if not _FOLD.uneven.isdisjoint(met):
            before = self._places or _each(0, len(text))
            self._places = [
                place
                for character, place in zip(text, before, strict=True)
                for _ in _FOLD[ord(character)]
            ]


def _each(start: int, end: int) -> list[tuple[int, int]]:
    return [(index, index + 1) for index in range(start, end)]


def _code_point(digits: str) -> str:
    code = int(digits, 16)
    return "\N{REPLACEMENT CHARACTER}" if 0xD800 <= code <= 0xDFFF else chr(code)
