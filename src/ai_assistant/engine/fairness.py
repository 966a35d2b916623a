"""Who goes first within a class: start-time fair queueing over tenants (Goyal et al., 1996).

Each tenant has a clock of its own that runs by the tokens it asks for, divided by its weight. One
that asks for much goes to the back by itself; one that comes now and then goes to the front.
"""

from ai_assistant.engine.sequence import Sequence
from ai_assistant.protocol.requests import Priority

EXPECTED_ANSWER = 512
"""Tokens that are counted at most for an answer whose length nobody knows yet."""


class Fairness:
    """Stamps sequences with the virtual time at which they may start."""

    def __init__(self) -> None:
        self._now = dict.fromkeys(Priority, 0.0)
        self._ends: dict[tuple[Priority, str], float] = {}

    def stamp(self, sequence: Sequence) -> None:
        """A sequence has arrived."""
        request = sequence.request
        key = request.priority, request.tenant
        start = max(self._now[request.priority], self._ends.get(key, 0.0))
        answer = min(sequence.limit - sequence.prompt_length, EXPECTED_ANSWER)
        cost = (sequence.prompt_length + answer) / max(request.weight, 1e-3)
        sequence.virtual_start = start
        self._ends[key] = start + cost

    def started(self, sequence: Sequence) -> None:
        """It runs now: whoever comes later does not come before it."""
        priority = sequence.request.priority
        self._now[priority] = now = max(self._now[priority], sequence.virtual_start)
        if len(self._ends) > 1024:
            self._ends = {k: v for k, v in self._ends.items() if k[0] != priority or v > now}
