"""What several passes over the same steps say together: the least of each, and what to repeat.

Others only ever make a step slower. So the least time is right as soon as one pass was left in
peace; it is believed when a second pass, some time later, came near to it.
"""

from collections.abc import Sequence

import msgspec
from msgspec import structs

from ai_assistant.protocol.layout import Case, Timed, TrialReport

NEAR = 1.3
"""Two passes over a step agree when one took at most so many times as long as the other."""
LONG = 5.0
"""Seconds from which on a step is not repeated: short disturbances hardly show in it."""


class Pass(msgspec.Struct, frozen=True, kw_only=True):
    """One trial."""

    report: TrialReport
    quiet: bool = True
    """Not: other programs computed meanwhile."""


def least(passes: Sequence[Pass]) -> TrialReport:
    """The shortest time of each step, in the order of the first pass."""
    times = _times(passes)
    memory: dict[str, int] = {}
    for one in passes:
        memory |= {what: max(size, memory.get(what, 0)) for what, size in one.report.memory.items()}
    return structs.replace(
        passes[0].report,
        times=tuple(Timed(case, min(found)) for case, found in times.items()),
        memory=memory,
    )


def wanted(cases: Sequence[Case], passes: Sequence[Pass]) -> tuple[Case, ...]:
    """Of these, what a further pass should time: all but steps that take very long."""
    times = _times(passes)
    return tuple(case for case in cases if min(times.get(case, [0.0])) < LONG)


def doubted(passes: Sequence[Pass]) -> tuple[Case, ...]:
    """Steps whose least time no other pass came near to, or that no pass timed in peace."""
    peaceful = {one.case for done in passes if done.quiet for one in done.report.times}
    return tuple(
        case
        for case, found in _times(passes).items()
        if min(found) < LONG and (case not in peaceful or disagreement(found) > NEAR)
    )


def doubt(passes: Sequence[Pass]) -> float:
    """How far the least times of a trial may be off: what disagrees most should be repeated
    first."""
    times = _times(passes)
    return max((disagreement(times[case]) for case in doubted(passes)), default=0.0)


def disagreement(seconds: Sequence[float]) -> float:
    """The second shortest time by the shortest; endless where there is but one."""
    first, *rest = sorted(seconds)
    if not rest:
        return float("inf")
    return rest[0] / first if first > 0 else 1.0


def _times(passes: Sequence[Pass]) -> dict[Case, list[float]]:
    times: dict[Case, list[float]] = {}
    for done in passes:
        for one in done.report.times:
            times.setdefault(one.case, []).append(one.seconds)
    return times
