"""Placeholders in an answer become what they stand for, piece by piece as the answer comes.

A model may change a placeholder's case, escape it or lose its brackets. Only an end that may be
the beginning of a placeholder waits for what follows; however an answer is cut into pieces, the
same text comes out.
"""

import re
from collections.abc import Sequence

import msgspec

from ai_assistant.policy.vault import Vault

_DIGITS = r"[0-9]{1,6}"
_SEPARATORS = re.compile(r"\\?[_ \-]")


class Restorer:
    """Restores one stream: one choice's text, or its reasoning, or one tool call's arguments."""

    def __init__(self, vault: Vault, *, json: bool = False) -> None:
        """`json`: the stream is JSON text, so values are escaped."""
        entries = [one for one in vault.entries if one.restore]
        self._values = {
            one.name: msgspec.json.encode(one.value).decode()[1:-1] if json else one.value
            for one in entries
        }
        stems = sorted({one.name.rpartition("_")[0] for one in entries}, key=len, reverse=True)
        self._now = _expression(stems, json=json, final=False) if stems else None
        self._last = _expression(stems, json=json, final=True) if stems else None
        self._held = ""
        self._before = ""

    def feed(self, piece: str) -> str:
        """What can be said for certain after this piece."""
        return self._go(piece, self._now)

    def flush(self) -> str:
        """The rest, at the end of the stream."""
        return self._go("", self._last)

    def _go(self, piece: str, expression: re.Pattern[str] | None) -> str:
        if expression is None:
            return piece
        text = self._before + self._held + piece
        place = len(self._before)
        out: list[str] = []
        while True:
            match = expression.search(text, place)
            if match is None:
                out.append(text[place:])
                place = len(text)
                break
            out.append(text[place : match.start()])
            place = match.start()
            if match["open"] is not None:
                break
            out.append(self._value(match))
            place = match.end()
        self._held = text[place:]
        self._before = text[place - 1 : place] if place else ""
        return "".join(out)

    def _value(self, match: re.Match[str]) -> str:
        core = next(found for name, found in match.groupdict().items() if found and name != "open")
        stem, _, number = _SEPARATORS.sub("_", core).rpartition("_")
        return self._values.get(f"{stem.upper()}_{int(number)}", match[0])


def restored(text: str, vault: Vault, *, json: bool = False) -> str:
    """A whole text, restored."""
    restorer = Restorer(vault, json=json)
    return restorer.feed(text) + restorer.flush()


def _expression(stems: Sequence[str], *, json: bool, final: bool) -> re.Pattern[str]:
    """Whole placeholders, and unless `final`, an end of the text that may become one."""
    loose = [_loose(stem, json=json) for stem in stems]
    brackets = [("square", [r"\["], [r"\]"]), ("wide", ["[【［]"], ["[】］]"])]
    if not json:
        brackets.append(("escaped", [r"\\", r"\["], [r"\\", r"\]"]))
    whole: list[str] = []
    partial: list[str] = []
    for name, opening, closing in brackets:
        elements = [[*core, _DIGITS] for core in loose]
        inner = "|".join("".join(core) for core in elements)
        whole.append(f"{''.join(opening)} ?(?P<{name}>{inner}) ?{''.join(closing)}")
        partial += [_beginning([*opening, " ?", *core, " ?", *closing[:-1]]) for core in elements]
    bare = "|".join(re.escape(stem) for stem in stems)
    behind = "" if final else "(?=[^A-Za-z0-9_])"
    whole.append(rf"(?<![A-Za-z0-9_])(?P<bare>(?:{bare})_{_DIGITS})(?![A-Za-z0-9_]){behind}")
    partial += [
        r"(?<![A-Za-z0-9_])" + _beginning([*map(re.escape, stem), "_", _DIGITS]) for stem in stems
    ]
    open_end = "(?!)" if final else rf"(?!\Z)(?:{'|'.join(partial)})"
    return re.compile(f"{'|'.join(whole)}|(?P<open>{open_end})", re.DOTALL)


def _loose(stem: str, *, json: bool) -> list[str]:
    """A stem and its last separator, letter by letter, as models write them: in any case."""
    separator = [r"[_ \-]"] if json else [r"\\?", r"[_ \-]"]
    elements: list[str] = []
    for one in f"{stem}_":
        if one == "_":
            elements += separator
        else:
            elements.append(f"[{one}{one.lower()}]" if one.isalpha() else one)
    return elements


def _beginning(elements: Sequence[str]) -> str:
    """Matches what is a beginning of the elements in a row and ends where the text ends."""
    pattern = r"\Z"
    for element in reversed(elements):
        pattern = rf"{element}(?:{pattern})" if pattern == r"\Z" else rf"{element}(?:\Z|{pattern})"
    return pattern
