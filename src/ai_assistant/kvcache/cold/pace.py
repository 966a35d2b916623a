"""Threads that stay behind, and how fast they are."""

import contextlib
import os
import sys
import threading


class Speed:
    """Bytes per second, a moving average; 0 until something was measured."""

    _NEWEST = 0.2

    def __init__(self) -> None:
        self.value = 0.0

    def measured(self, count: int, seconds: float) -> None:
        """`count` bytes took that long."""
        now = count / max(seconds, 1e-6)
        self.value = now if not self.value else self.value + self._NEWEST * (now - self.value)


def stay_behind() -> None:
    """Give the calling thread the lowest priority, where threads have one."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
