"""Who has computed which beginnings of prompts: a cheap estimate of what caches hold.

It remembers digests, not texts. How far a worker's cache keeps what it was given shows in the
usage of its answers; an estimate counts as much as they have borne it out.
"""

from collections import OrderedDict
from collections.abc import Sequence

from ai_assistant.scheduler.routing.need import Mark

_MOST = 20_000
_SMALLEST = 16
"""Tokens below which nothing is gained."""
_NEWEST = 0.2
KEPT_HERE = 24 * 3600.0
KEPT_THERE = 300.0
"""Seconds that a beginning is taken to be known: by our own engines, by others."""


class Prefixes:
    """One for the node; all times are seconds of a clock that goes forward."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, dict[str, float]] = OrderedDict()
        self._trust: dict[str, float] = {}

    def held(self, marks: Sequence[Mark], now: float, *, kept: dict[str, float]) -> dict[str, int]:
        """Tokens of a prompt that each worker is likely to hold; `kept`: seconds, by worker.

        The last part of a prompt is new even if it looks like an old one: an engine computes it.
        Who keeps what it computed for longer than a cloud does also keeps what it said.
        """
        found: dict[str, int] = {}
        for index, mark in enumerate(marks):
            holders = self._known.get(mark.digest)
            if holders is None:
                break
            said = marks[index + 1] if index + 1 < len(marks) else mark
            for worker, at in holders.items():
                if now - at <= kept.get(worker, KEPT_THERE):
                    found[worker] = (said if said.answer and worker in kept else mark).tokens
        return {
            worker: int(tokens * self._trust.get(worker, 1.0))
            for worker, tokens in found.items()
            if tokens >= _SMALLEST
        }

    def note(self, marks: Sequence[Mark], worker: str, now: float) -> None:
        """The worker has computed this prompt."""
        for mark in marks:
            self._known.setdefault(mark.digest, {})[worker] = now
            self._known.move_to_end(mark.digest)
        while len(self._known) > _MOST:
            self._known.popitem(last=False)

    def learn(self, worker: str, expected: int, found: int) -> None:
        """So many tokens were expected to be cached, and so many were."""
        if expected < _SMALLEST:
            return
        before = self._trust.get(worker, 1.0)
        self._trust[worker] = before + _NEWEST * (min(found / expected, 1.0) - before)
