"""What each mode means for the engines: pure decisions."""

import re
from math import ceil
from typing import Literal

import msgspec

from ai_assistant.protocol.errors import InvalidRequest
from ai_assistant.protocol.power import Restraint

WATTS = (1.0, 100_000.0)
QUIET_SLOTS = 4
_CEILINGS = {"balanced": 85.0, "quiet": 70.0}
"""Degrees, where the owner sets none."""
_SHARES = (1.0, 0.75, 0.5, 0.25)
"""Of the threads, on the way down."""
_RESTS = (0.75, 0.5, 0.35, 0.25)
"""Shares of the time, below that."""


class Mode(msgspec.Struct, frozen=True, kw_only=True):
    """What the owner wants."""

    kind: Literal["max", "balanced", "quiet", "watts"]
    watts: float | None = None

    def __str__(self) -> str:
        return self.kind if self.watts is None else f"{self.watts:g} W"


def read_mode(text: str) -> Mode:
    """The mode that `text` names. Raises `InvalidRequest`."""
    word = text.strip().lower()
    if word == "max" or word == "balanced" or word == "quiet":
        return Mode(kind=word)
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)\s*(?:w|watts?)?", word, re.ASCII)
    if found and WATTS[0] <= float(found[1]) <= WATTS[1]:
        return Mode(kind="watts", watts=float(found[1]))
    raise InvalidRequest(
        "The power mode is max, balanced, quiet, or a number of watts such as 45W.", param="mode"
    )


def restraint_of(mode: Mode, cores: int, *, saturating: int = 0) -> Restraint:
    """What the engines leave alone, as long as nothing is too hot.

    `saturating`: threads that read memory about as fast as all do, 0 if it was not measured. More
    of them write single tokens no faster; prompts use them, so balanced keeps half of the cores.
    """
    if mode.kind == "balanced":
        return Restraint(threads=min(cores, max(saturating or ceil(0.75 * cores), ceil(cores / 2))))
    if mode.kind == "quiet":
        return Restraint(threads=max(1, cores // 4), slots=QUIET_SLOTS, speculation=False)
    return Restraint()


def ceiling_of(mode: Mode, wanted: float) -> float | None:
    """Degrees above which work slows down; `wanted` by the owner, 0 if nothing was said."""
    return wanted or _CEILINGS.get(mode.kind)


def ladder(restraint: Restraint, cores: int, *, on_gpu: bool) -> tuple[Restraint, ...]:
    """From `restraint` down to the least: fewer threads first, which costs least, then rests.

    Where a GPU computes, threads make no difference: only rests do.
    """
    threads = min(restraint.threads or cores, cores)
    counts = [threads] if on_gpu else [max(1, ceil(share * threads)) for share in _SHARES]
    fewer = [restraint, *(_with(restraint, count, 1.0) for count in dict.fromkeys(counts[1:]))]
    steps = [one for i, one in enumerate(fewer) if not i or one.threads != threads]
    return (*steps, *(_with(restraint, counts[-1], rest) for rest in _RESTS))


def _with(restraint: Restraint, threads: int, work: float) -> Restraint:
    return msgspec.structs.replace(restraint, threads=threads, work=work)
