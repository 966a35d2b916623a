"""The thread counts to start with, by measurement: a second or less when a model is loaded.

On a busy machine the result is only a start; the controller goes on from there.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence

import msgspec

DECODE_STEP, PREFILL_STEP = 1, 48
"""Tokens of the steps that are measured."""
ROUNDS = 7
"""Steps per count at most."""
EQUAL = 1.05
"""Counts that differ by less are the same: more threads lose less when cores become slow."""
HOPELESS = 1.3
"""A count this much slower than the best is not measured again."""
WORTH_IT = 1.05
"""Two kinds of step share one count unless each gains more than this from its own: a changed
count makes OpenMP end and start threads (measured: 0.1 ms for one thread)."""

TimeStep = Callable[[int, int], float]
"""(threads, tokens) → seconds of one step."""


class Calibration(msgspec.Struct, frozen=True):
    """Where to start."""

    decode: int
    prefill: int
    table: dict[tuple[int, int], float]
    """(threads, tokens) → seconds; counts that looked hopeless may be missing."""


def calibrate(
    time_step: TimeStep, candidates: Sequence[int], budget_seconds: float = 1.5
) -> Calibration:
    """Measure decode and prefill steps; the steps take about `budget_seconds` in all.

    A step cannot be stopped: at least one of each kind runs, and the last may pass the budget.
    """
    time_step(max(candidates), DECODE_STEP)
    decode = _Trial(time_step, DECODE_STEP, budget_seconds / 2).run(sorted(candidates))
    rest = budget_seconds - sum(map(sum, decode.values()))
    prefill = _Trial(time_step, PREFILL_STEP, rest).run(sorted(candidates))
    table = {
        (count, tokens): statistics.median(times)
        for tokens, found in ((DECODE_STEP, decode), (PREFILL_STEP, prefill))
        for count, times in found.items()
    }
    best = {t: _best({c: s for (c, n), s in table.items() if n == t}) for _, t in table}
    return Calibration(*_common(best[DECODE_STEP], best[PREFILL_STEP], table), table)


def _common(decode: int, prefill: int, table: dict[tuple[int, int], float]) -> tuple[int, int]:
    shared = table.get((prefill, DECODE_STEP))
    if shared is not None and shared <= WORTH_IT * table[decode, DECODE_STEP]:
        return prefill, prefill
    return decode, prefill


def _best(seconds: dict[int, float]) -> int:
    """The most threads among those that are about as fast as the fastest."""
    return max(count for count in seconds if seconds[count] <= EQUAL * min(seconds.values()))


class _Trial:
    """Measures one size of step until the budget is spent."""

    def __init__(self, time_step: TimeStep, tokens: int, budget: float) -> None:
        self._time_step = time_step
        self._tokens = tokens
        self._left = budget
        self._times: dict[int, list[float]] = {}

    def run(self, counts: Sequence[int]) -> dict[int, list[float]]:
        """Seconds by count. Halves first, then the best one's neighbours, then rounds."""
        for count in _halves(counts):
            if not self._measure(count) or self._times[count][0] > 2 * self._fastest:
                break
        while count := next(self._unknown_neighbours(counts), 0):
            if not self._measure(count):
                break
        for _ in range(ROUNDS - 1):
            for count in self._promising():
                if not self._measure(count):
                    return self._times
        return self._times

    def _measure(self, count: int) -> bool:
        if self._times and self._left <= min(self._times.get(count, [self._fastest])):
            return False
        seconds = self._time_step(count, self._tokens)
        self._left -= seconds
        self._times.setdefault(count, []).append(seconds)
        return True

    @property
    def _fastest(self) -> float:
        return min(min(times) for times in self._times.values())

    def _promising(self) -> list[int]:
        limit = HOPELESS * min(statistics.median(times) for times in self._times.values())
        return [c for c, times in self._times.items() if statistics.median(times) <= limit]

    def _unknown_neighbours(self, counts: Sequence[int]) -> Iterator[int]:
        at = counts.index(_best({c: min(times) for c, times in self._times.items()}))
        for near in (at + 1, at - 1):
            if 0 <= near < len(counts) and counts[near] not in self._times:
                yield counts[near]


def _halves(counts: Sequence[int]) -> Iterator[int]:
    """The largest count, the one nearest to its half, and so on to the smallest."""
    count = counts[-1]
    while True:
        yield count
        if count == counts[0]:
            return
        half = count // 2
        count = max((c for c in counts if c <= half), default=counts[0])
