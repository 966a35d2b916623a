"""The owner's words and expressions, in RE2: linear time whatever the text.

Words are found in any case and width; one of Latin letters only where no letter goes on.
"""

from collections.abc import Iterator, Sequence

from ai_assistant.policy.expressions import BadPattern, Expression, escaped
from ai_assistant.policy.findings import Finding
from ai_assistant.policy.view import View


class Own:
    """Detector for one label; raises `BadPattern`."""

    def __init__(self, label: str, words: Sequence[str] = (), patterns: Sequence[str] = ()) -> None:
        self._label = label
        self._words = Expression(_alternatives(words)) if words else None
        self._patterns = [Expression(pattern) for pattern in patterns]
        for pattern in self._patterns:
            if pattern.fits(b""):
                raise BadPattern("it matches the empty text, so it would match everywhere")

    def find(self, view: View) -> Iterator[Finding]:
        """Every stretch that a word or an expression names."""
        if self._words is not None:
            yield from self._matches(self._words, view.lower, "words")
        for pattern in self._patterns:
            yield from self._matches(pattern, view.text, "pattern")

    def _matches(self, pattern: Expression, text: str, how: str) -> Iterator[Finding]:
        data = text.encode("utf-8", "replace")
        for match in pattern.matches(data):
            start, end = match.group_start, match.group_end
            if len(data) != len(text):
                words = data[start:end].decode("utf-8", "replace")
                start = len(data[:start].decode("utf-8", "replace"))
                end = start + len(words)
            if end > start:
                yield Finding(start, end, self._label, f"own:{how}", 1.0)


def _alternatives(words: Sequence[str]) -> str:
    folded = sorted({View(word.strip()).lower for word in words if word.strip()}, key=len)
    return "|".join(map(_bounded, reversed(folded)))


def _bounded(word: str) -> str:
    before = r"\b" if _is_latin(word[0]) else ""
    after = r"\b" if _is_latin(word[-1]) else ""
    return before + escaped(word).replace(r"\ ", r"\s+") + after


def _is_latin(character: str) -> bool:
    return character.isascii() and (character.isalnum() or character == "_")
