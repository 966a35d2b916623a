"""Threads that stay behind, and how fast they are."""

import contextlib
import os
import sys
import threading


class Speed:
    """Bytes per second, of late more than of old; 0 until something was measured."""

    _FADING = 0.9

    def __init__(self) -> None:
        self._bytes = self._seconds = 0.0

    @property
    def value(self) -> float:
        """The average: large pieces weigh more than small ones."""
        return self._bytes / self._seconds if self._seconds else 0.0

    def measured(self, count: int, seconds: float) -> None:
        """`count` bytes took that long."""
        self._bytes = self._FADING * self._bytes + count
        self._seconds = self._FADING * self._seconds + seconds


def stay_behind() -> None:
    """Give the calling thread the lowest priority, where threads have one."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
