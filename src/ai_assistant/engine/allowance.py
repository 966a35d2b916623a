"""What streams can spare for others: a running account in seconds.

A stream that may become `factor` times slower earns `factor` - 1 times its own time with each step.
Work beside it, a piece of a prompt or streams of a lower class, is paid from that. So the work is
done in pieces that the machine is good at, and the streams keep their pace on the average: before
a large piece they run alone for a while.
"""

from ai_assistant.protocol.requests import Priority

PATIENCE = {Priority.INTERACTIVE: 1.0, Priority.NORMAL: 16.0, Priority.BATCH: 32.0}
"""Times `tpot_factor`: how much slower streams of each class may become."""
MOST, LEAST = 0.5, -0.5
"""Seconds that the account holds at most, and owes at most."""


class Allowance:
    """The account of the streams that run now."""

    def __init__(self, tpot_factor: float) -> None:
        self._factor = tpot_factor
        self._credit = 0.0
        self._priority: Priority | None = None

    def bears(self, priority: Priority, seconds: float) -> bool:
        """Whether others may make the next step of such streams so much longer."""
        credit = self._credit if priority == self._priority else 0.0
        return credit >= min(seconds, MOST)

    def passed(self, priority: Priority | None, alone: float, seconds: float) -> None:
        """A step took `seconds`, and would have taken `alone` with the streams of the highest
        class, `priority`, and nothing else; None: there were none."""
        if priority != self._priority:
            # Others' streams: what was saved before is not theirs.
            self._priority, self._credit = priority, 0.0
        if priority is None:
            return
        earned = (self._factor * PATIENCE[priority] - 1) * alone
        credit = self._credit + earned - max(seconds - alone, 0.0)
        self._credit = min(MOST, max(LEAST, credit))
