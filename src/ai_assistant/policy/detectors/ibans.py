"""International bank account numbers: the country's length and shape, and the remainder of 97."""

import re
from collections.abc import Iterator

from stdnum import iban, numdb

from ai_assistant.policy.expressions import Expression
from ai_assistant.policy.findings import Finding
from ai_assistant.policy.view import View

LABEL = "iban"
_CANDIDATE = re.compile(
    r"(?<![A-Za-z0-9])[A-Za-z]{2}[ \-]?[0-9]{2}[ \-]?(?:[A-Za-z0-9][ \-]?){11,30}"
)
_POSSIBLE = Expression(
    r"(?:^|[^A-Za-z0-9])[A-Za-z]{2}[ \-]?[0-9]{2}[ \-]?(?:[A-Za-z0-9][ \-]?){11}"
)
"""Fits every text with a candidate: a look that costs a tenth."""
_FIELD = re.compile(r"(\d+)!?[anc]")
_registry = numdb.get("iban")
_lengths: dict[str, int] = {}


def find(view: View) -> Iterator[Finding]:
    """Account numbers, with or without spaces."""
    if not _POSSIBLE.fits(view.ascii):
        return
    for match in _CANDIDATE.finditer(view.text):
        end = _end(match[0], _length(match[0][:2].upper()))
        if end and not view.text[match.start() + end : match.start() + end + 1].isalnum():
            number = match[0][:end]
            if iban.is_valid(number):
                yield Finding(match.start(), match.start() + end, LABEL, "iban", 1.0)


def _length(country: str) -> int:
    """Characters of the country's numbers; 0 where there are none."""
    if country not in _lengths:
        (_, properties) = _registry.info(country + "00")[0]
        fields = _FIELD.findall(properties.get("bban", ""))
        _lengths[country] = 4 + sum(map(int, fields)) if fields else 0
    return _lengths[country]


def _end(candidate: str, length: int) -> int:
    """Where so many characters end, separators not counted; 0 if there are fewer."""
    seen = 0
    for index, character in enumerate(candidate, 1):
        seen += character not in " -"
        if seen == length:
            return index
    return 0
