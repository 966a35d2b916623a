"""Keeps out of the way of other programs."""

import os
import time
from contextlib import suppress
from typing import Any, cast

import psutil

_LOOK = 0.15
"""Seconds over which the load of others is seen."""
_BUSY = 0.25
"""Share of the cores that others may use while we measure."""
_PATIENCE = 3.0
"""Seconds that are waited in all."""


class Others:
    """What the other programs of this machine do."""

    def __init__(self, patience: float = _PATIENCE) -> None:
        self._left = patience

    def wait_for_quiet(self) -> bool:
        """Whether the machine is quiet now, after waiting as long as there is patience left."""
        while not self.quiet():
            if self._left <= 0:
                return False
            time.sleep(_LOOK)
            self._left -= 2 * _LOOK
        return True

    def quiet(self) -> bool:
        """Whether others use but a little."""
        return busy_cores(_LOOK) <= max(0.3, _BUSY * (psutil.cpu_count() or 1))


def busy_cores(seconds: float) -> float:
    """Cores that other programs used in this time; blocks for it."""
    before = _work()
    time.sleep(seconds)
    return max(0.0, (_work() - before) / seconds)


def _work() -> float:
    """Seconds of all cores spent on others' work since the start."""
    times = cast("Any", psutil.cpu_times())
    idle = times.idle + getattr(times, "iowait", 0.0)
    twice = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    own = time.process_time()
    return sum(times) - idle - twice - own


def step_back() -> None:
    """Lowest priority for this process and those that it starts, for good."""
    with suppress(OSError, AttributeError):
        os.nice(10)
    with suppress(OSError, AttributeError, psutil.Error, ValueError):
        psutil.Process().ionice(psutil.IOPRIO_CLASS_BE, 7)
