"""Bank cards: issuer ranges, lengths and Luhn's check digit."""

from collections.abc import Iterator

from ai_assistant.policy.detectors.numbers import Run
from ai_assistant.policy.findings import Finding

LABEL = "card"
FEWEST, MOST = 13, 19
_FIRST = frozenset({1, 4, 8, 12})
"""Digits that the first of several groups may have."""
# First and last prefix of each range, the lengths that it comes in.
_ISSUERS: tuple[tuple[str, str, frozenset[int]], ...] = (
    ("4", "4", frozenset({13, 16, 19})),  # Visa
    ("51", "55", frozenset({16})),  # Mastercard
    ("2221", "2720", frozenset({16})),
    ("34", "34", frozenset({15})),  # American Express
    ("37", "37", frozenset({15})),
    ("62", "62", frozenset({16, 17, 18, 19})),  # UnionPay
    ("81", "81", frozenset({16, 17, 18, 19})),
    ("6011", "6011", frozenset({16, 17, 18, 19})),  # Discover
    ("644", "659", frozenset({16, 17, 18, 19})),
    ("300", "305", frozenset({14, 16, 17, 18, 19})),  # Diners Club
    ("36", "36", frozenset({14, 16, 17, 18, 19})),
    ("38", "39", frozenset({14, 16, 17, 18, 19})),
    ("3528", "3589", frozenset({16, 17, 18, 19})),  # JCB
    ("2200", "2204", frozenset({16, 17, 18, 19})),  # Mir
    ("50", "50", frozenset({13, 14, 15, 16, 17, 18, 19})),  # Maestro
    ("56", "58", frozenset({13, 14, 15, 16, 17, 18, 19})),
    ("60", "60", frozenset({16})),  # RuPay
    ("63", "63", frozenset({16, 18, 19})),
    ("67", "67", frozenset({13, 14, 15, 16, 17, 18, 19})),
    ("9792", "9792", frozenset({16})),  # Troy
)
_DOUBLED = {str(digit): sum(divmod(2 * digit, 10)) for digit in range(10)}
_PLAIN = {str(digit): digit for digit in range(10)}


def find(run: Run) -> Iterator[Finding]:
    """Cards in a run of digits, whole groups of it."""
    if run.count < FEWEST:
        return
    for first, size in enumerate(run.sizes):
        if first and not _may_begin(run.sizes[first - 1], size):
            continue
        for count in _counts(run.sizes, first):
            start, end = run.groups[first][0], run.groups[first + count - 1][1]
            if (start == run.start and run.glued_before) or (end == run.end and run.glued_after):
                continue
            if is_card(run.digits(first, count)):
                yield Finding(start, end, LABEL, "card", 0.95)


def _may_begin(before: int, size: int) -> bool:
    """Whether a card may begin with a group of `size` digits behind one of `before`."""
    return (size in _FIRST or size >= FEWEST) and not before == size == 1


def _counts(sizes: tuple[int, ...], first: int) -> Iterator[int]:
    """How many groups from `first` on may be a card."""
    total = 0
    for count, size in enumerate(sizes[first : first + MOST], 1):
        total += size
        if total > MOST:
            return
        if total >= FEWEST and (count == len(sizes) or _is_printed(sizes[first : first + count])):
            yield count


def is_card(digits: str) -> bool:
    """Whether an issuer gives such numbers and the check digit is right."""
    return _is_issued(digits) and luhn(digits)


def luhn(digits: str) -> bool:
    """Luhn's sum (ISO/IEC 7812-1)."""
    total = sum(_PLAIN[one] for one in digits[-1::-2]) + sum(
        _DOUBLED[one] for one in digits[-2::-2]
    )
    return total % 10 == 0


def _is_issued(digits: str) -> bool:
    if digits[0] not in "2345689" or len(set(digits)) == 1:
        return False
    return any(
        first <= digits[: len(first)] <= last and len(digits) in lengths
        for first, last, lengths in _ISSUERS
    )


def _is_printed(sizes: tuple[int, ...]) -> bool:
    """Groups as cards show them, so that tables of numbers are none."""
    if sizes in ((4, 6, 5), (4, 6, 4)) or all(size == 1 for size in sizes):
        return True
    return all(size % 4 == 0 for size in sizes[:-1])
