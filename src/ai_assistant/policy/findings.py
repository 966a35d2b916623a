"""What a detector says: a stretch of text and what it is."""

from collections.abc import Iterable

import msgspec


class Finding(msgspec.Struct, frozen=True, order=True):
    """A protected stretch of one text. `start` and `end` count characters."""

    start: int
    end: int
    label: str
    detector: str
    """Which detector, with the kind that it recognised: `national_id:cn.ric`."""
    confidence: float
    """0 to 1: 1 where check digits and shape leave no doubt, 0.6 where only words beside it
    speak."""


def resolved(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Of findings that overlap the surest, then the longest; the owner's own always stay."""
    findings = tuple(findings)
    if len(findings) < 2:
        return findings
    own, others = _parted(findings)
    kept: list[Finding] = []
    for one in sorted(others, key=lambda f: (-f.confidence, f.start - f.end, f.start, f.label)):
        if not any(one.start < other.end and other.start < one.end for other in kept):
            kept.append(one)
    return tuple(sorted({*own, *kept}))


def _parted(findings: Iterable[Finding]) -> tuple[list[Finding], list[Finding]]:
    own: list[Finding] = []
    others: list[Finding] = []
    for one in findings:
        (own if one.detector.startswith("own:") else others).append(one)
    return own, others
