"""How many cores the others leave us: follows them down at once and up after a quiet moment.

After a pause of ours what was seen last is old: the first look at the machine at work decides.
"""

import math

from ai_assistant.engine.pace.load import LoadSample

MARGIN = 0.1
"""A core is taken from 0.6 and given back from 0.4: the count does not flap in between."""
PATIENCE = 0.2
"""Seconds that a core has to be free before it is used again."""
LONGEST_PATIENCE = 6.4
"""For a load that comes and goes: each early return doubles the patience."""
EARLY = 2.0
"""A core taken again within so many seconds was given back too early."""
FORGIVEN = 20.0
"""After so many seconds without an early return the patience is short again."""


class FreeCores:
    """Whole cores that are free for us, 1 at least and `most` at most."""

    def __init__(self, most: int) -> None:
        self.cores = self._most = max(1, most)
        self._quiet_since: float | None = None
        self._rested = False
        """The latest look was at a time when we did not work."""
        self._raised_at = -1e9
        self._patience = PATIENCE

    def follow(self, now: float, load: LoadSample) -> int:
        """The count at `now`, in seconds."""
        # A quota is spent in time, not in cores: 1.5 cores are worth two threads.
        limit = max(1, min(self._most, math.ceil(load.usable_cores - MARGIN)))
        floor = self._left(limit, load.other_cores + 0.5 - MARGIN)
        ceiling = self._left(limit, load.other_cores + 0.5 + MARGIN)
        # On a full machine the others' share shrinks when ours grows: that frees nothing.
        ceiling = min(ceiling, self.cores + int(min(load.idle_cores + 0.5 - MARGIN, self._most)))
        woken, self._rested = self._rested and not load.rested, load.rested
        if floor < self.cores:
            self._fall(floor, now)
        elif woken and ceiling > self.cores:
            self._rise(ceiling, now)
        elif ceiling <= self.cores:
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = now
        elif now - self._quiet_since >= self._patience:
            self._rise(ceiling, now)
        return self.cores

    def _left(self, limit: int, taken: float) -> int:
        return max(1, limit - int(taken))

    def _fall(self, cores: int, now: float) -> None:
        since = now - self._raised_at
        if since < EARLY:
            self._patience = min(2 * self._patience, LONGEST_PATIENCE)
        elif since > FORGIVEN:
            self._patience = PATIENCE
        self.cores, self._quiet_since = cores, None

    def _rise(self, cores: int, now: float) -> None:
        self.cores, self._quiet_since, self._raised_at = cores, None, now
