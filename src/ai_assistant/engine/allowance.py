"""What streams can spare for others: a running account in seconds.

A stream that may become `factor` times slower earns `factor` - 1 times its own time with each step.
Work beside it, a piece of a prompt or streams of a lower class, is paid from that. So the work is
done in pieces that the machine is good at, and the streams keep their pace on the average: before
a large piece they run alone for a while.

Their own time is that on a machine that has nothing but them: cells of others in the context slow
each step, although nothing of theirs is computed in it.
"""

from ai_assistant.protocol.requests import Priority

PATIENCE = {Priority.INTERACTIVE: 1.0, Priority.NORMAL: 16.0, Priority.BATCH: 32.0}
"""Times `tpot_factor`: how much slower streams of each class may become."""
MOST, LEAST = 0.5, -0.5
"""Seconds that the account holds at most, and owes at most."""
LEAST_SHARE = 0.75
"""Of a step's time: so much is the streams' own at least. What an empty context was measured to
take may be long ago, and the machine busier by now."""


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
        """A step took `seconds`, and would have taken `alone` (see `unloaded`) with the streams of
        the highest class, `priority`, and nothing else; None: there were none."""
        if priority != self._priority:
            # Others' streams: what was saved before is not theirs.
            self._priority, self._credit = priority, 0.0
        if priority is None:
            return
        earned = (self._factor * PATIENCE[priority] - 1) * alone
        credit = self._credit + earned - max(seconds - alone, 0.0)
        self._credit = min(MOST, max(LEAST, credit))


def unloaded(alone: float, empty: float | None, own: int, resident: int) -> float:
    """Seconds of a step of some streams if only their `own` cells were in the context.

    `alone`: the same with all `resident` cells; `empty`: with none, None: never measured. Each
    cell costs the same.
    """
    if empty is None or not 0 <= own < resident:
        return alone
    return max(min(alone, empty + (alone - empty) * own / resident), LEAST_SHARE * alone)
