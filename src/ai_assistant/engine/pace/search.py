"""The best thread count for one kind of step, found by trying neighbours now and then.

A probe is a step or three with another count, compared with what the present count would have
taken. Its cost is paid back before the next one, so a machine that does not change loses little.
"""

import statistics
from collections import deque
from collections.abc import Sequence

from ai_assistant.engine.pace.step_times import Curve

UP, DOWN, RESCUE = 0.97, 0.9, 0.8
"""A higher or a lower count is taken when it needs at most this share of the time; the last one
after an alarm, since a collapse is never a matter of a few hundredths. On virtual machines cores
are now and then half as fast for a while: too few threads lose more by that than too many."""
WORSE = 1.25
"""One step this much slower ends a probe."""
LOOK, ENOUGH = 3, 16
"""Steps of a probe, and of one that noise leaves open."""
ACCIDENT = 2.5
"""A single step counts at most this much: nobody's count is to blame for it."""
SOONEST, SHORTEST, LONGEST = 0.2, 2.0, 60.0
"""Seconds between probes: after a gain, at first, and when nothing has changed for long."""
GROWTH = 1.5
"""Each vain probe makes the pause so much longer: two of them are one look in both directions."""
PAYBACK = 150
"""A probe's loss is at most one part in so many of the time until the next probe."""
HASTE, HASTY_PAYBACK = 3.0, 30
"""The same for long steps on a machine that looks calm."""
SLOW = 1.5
"""A step is slow from this many times its prediction."""
ALARM, CALMING = 2.0, 0.34
"""So many slow steps are an alarm; each normal one takes off a little."""
REPENT = 1.0
"""An alarm that a change of load explains within so many seconds was about that load."""
TOP, HALF = 99, -99
OFFSETS = (TOP, -1, 1, HALF, -2, 2)
"""Places in the list of counts, from the present one, in the order they are tried. Even counts may
be better than odd ones; all threads, or half of them, where one more or less is not."""


class Probe:
    """One attempt with another count. `level` is how slow the present count is now: 1 is normal."""

    def __init__(self, count: int, level: float, turn: int, limit: float) -> None:
        """Better is what needs at most `limit` of the time."""
        self.count = count
        self._limit = limit
        self.turn = turn
        self.alarm = level > 1
        self.curve = Curve()
        self.lost = 0.0
        self._level = level
        self._ratios: list[float] = []

    def observe(self, tokens: int, seconds: float, expected: float) -> None:
        """A step with this count took `seconds`, the other would have taken `expected`."""
        expected *= self._level
        self._ratios.append(min(ACCIDENT, seconds / expected))
        self.lost += max(0.0, seconds - expected)
        self.curve.observe(tokens, seconds)

    @property
    def verdict(self) -> bool | None:
        """Whether this count is better; None while more steps are needed."""
        ratios = self._ratios
        if len(ratios) < LOOK:
            return False if ratios[-1] > WORSE else None
        limit = self._limit
        mean = statistics.fmean(ratios)
        doubt = statistics.stdev(ratios) / len(ratios) ** 0.5
        if len(ratios) < ENOUGH and mean - doubt < limit < mean + doubt:
            return None
        return mean < limit


class Search:
    """Chooses among `counts` (rising) for steps of one kind while the load stays as it is."""

    def __init__(self, counts: Sequence[int], count: int, *, hurry: bool = False) -> None:
        """Starts with `count`; `hurry` looks for a lower one soon: others compute here too."""
        self.count = count
        self.probe: Probe | None = None
        self.doubtful = count < counts[-1]
        """What led to this count may have been a disturbance: no higher one was tried since."""
        self._counts = counts
        self._curve = Curve()
        self._used = count
        self._interval = SHORTEST
        self._next_at: float | None = None
        self._hurry = hurry
        self._turn = 0 if hurry else 1
        self._slow = 0.0
        self._judged_at = self._lost = 0.0
        self._ratios: deque[float] = deque(maxlen=4)
        self._deaf_until = 0.0
        self._before: tuple[int, Curve, float] | None = None

    def seed(self, tokens: int, seconds: float) -> None:
        """The start count was measured."""
        self._curve.observe(tokens, seconds)

    def expected(self, tokens: int) -> float:
        """Seconds of a step with the present count; 0 while unknown."""
        return self._curve.seconds(tokens) or 0.0

    def next(self, tokens: int, now: float, allowed: int) -> int:
        """The count for a step of `tokens`, at most `allowed`; a probe may begin with it."""
        if self.probe is None and self._next_at is not None and now >= self._next_at:
            self._begin(tokens, allowed)
        count = self.probe.count if self.probe else self.count
        self._used = min(count, allowed)
        return self._used

    def hasten(self, now: float) -> None:
        """The machine looks calm: a higher count may be worth a try before its time."""
        if self.probe or self._next_at is None or self.count == self._counts[-1]:
            return
        wait = SOONEST if self.doubtful else max(HASTE, HASTY_PAYBACK * self._lost)
        if now >= self._judged_at + wait:
            self._next_at, self._turn = min(self._next_at, now), 0

    def _begin(self, tokens: int, allowed: int) -> None:
        if not self._curve.knows(tokens):
            return
        at, top = self._place(self.count), self._place(allowed)
        far = {TOP: top, HALF: self._place(max(1, self.count // 2))}
        for _ in OFFSETS:
            turn = self._turn % len(OFFSETS)
            self._turn += 1
            place = far.get(OFFSETS[turn], at + OFFSETS[turn])
            if 0 <= place <= top and place != at:
                self.probe = Probe(self._counts[place], 1.0, turn, UP if place > at else DOWN)
                return

    def _place(self, count: int) -> int:
        return max(i for i, known in enumerate(self._counts) if known <= count)

    def observe(self, tokens: int, seconds: float, now: float) -> None:
        """The step took `seconds` with the count that `next` said."""
        if self.probe and self._used == self.probe.count:
            self.probe.observe(tokens, seconds, self.expected(tokens))
            self._judge(self.probe, now)
        elif self._used == self.count:
            self._watch(tokens, seconds, now)
            self._curve.observe(tokens, seconds)
            if self._next_at is None:
                self._next_at = now + (4 * seconds if self._hurry else self._pause(seconds))

    def _judge(self, probe: Probe, now: float) -> None:
        verdict = probe.verdict
        if verdict is None:
            return
        self.probe = None
        self.doubtful = probe.alarm and verdict
        self._judged_at, self._lost = now, probe.lost
        if verdict:
            self._switch(probe, now)
        else:
            self._interval = min(GROWTH * self._interval, LONGEST)
            self._next_at = now + self._pause(probe.lost)
            self._deaf_until = self._next_at if probe.alarm else self._deaf_until

    def _switch(self, probe: Probe, now: float) -> None:
        if probe.alarm:
            self._before = (self.count, self._curve, now)
        self.count, self._curve = probe.count, probe.curve
        self._slow, self._interval = 0.0, SHORTEST
        # What helped may help again.
        self._turn = probe.turn
        self._next_at = now + SOONEST

    def _pause(self, lost: float) -> float:
        return max(self._interval, PAYBACK * lost)

    def _watch(self, tokens: int, seconds: float, now: float) -> None:
        if not self._curve.knows(tokens):
            return
        ratio = seconds / self.expected(tokens)
        self._ratios.append(ratio)
        self._slow = self._slow + 1 if ratio > SLOW else max(0.0, self._slow - CALMING)
        if self._slow >= ALARM and now >= self._deaf_until:
            self._alarm(now)

    def _alarm(self, now: float) -> None:
        """Steps became slow and nobody knows why: would half the threads do better?"""
        self._slow = 0.0
        at = self._place(self.count)
        half = self._place(max(1, self.count // 2))
        if half < at:
            level = statistics.fmean(self._ratios)
            self.probe = Probe(self._counts[half], level, OFFSETS.index(-1), RESCUE)
        else:
            self._deaf_until = now + self._interval

    def leave(self, now: float) -> None:
        """The load changed: another search is asked from now on."""
        self.probe, self._slow = None, 0.0
        if self._before and now - self._before[2] < REPENT:
            self.count, self._curve, _ = self._before
        self._before = None
