"""Blocks on their way from disk to the engine, in the order that was asked for."""

import threading
from collections import deque
from collections.abc import Sequence

from ai_assistant.kvcache.blocks import State
from ai_assistant.kvcache.cold.index import Index

READ_AHEAD = 2
"""Blocks that wait to be taken."""


class Fetch:
    """Taken to its end or cancelled by the caller: until then none of its blocks can go."""

    def __init__(self, names: Sequence[bytes], index: Index, lock: threading.Condition) -> None:
        self._names = tuple(names)
        self._index = index
        self._lock = lock
        self._ready: deque[State] = deque()
        self._read = 0
        self._ended = False
        with lock:
            index.guard(self._names)

    def next(self, seconds: float) -> State | None:
        """The next block, not to be written to; None: not there in that time, or no more comes."""
        with self._lock:
            self._lock.wait_for(lambda: self._ready or self._over, seconds)
            if not self._ready:
                return None
            self._lock.notify_all()
            return self._ready.popleft()

    @property
    def failed(self) -> bool:
        """A block was missing or bad, or this was cancelled: nothing more comes."""
        return self._ended and not self._ready

    @property
    def done(self) -> bool:
        """Every block was given out."""
        return not self._ended and not self._ready and self._read == len(self._names)

    def cancel(self) -> None:
        """No more is wanted."""
        with self._lock:
            if not self.done:
                self._stop()
            self._ready.clear()

    @property
    def _over(self) -> bool:
        return self._ended or self._read == len(self._names)

    # For the reader, which holds the lock.

    @property
    def wanted(self) -> bytes | None:
        """The block to be read now."""
        if self._over or len(self._ready) >= READ_AHEAD:
            return None
        return self._names[self._read]

    @property
    def all_read(self) -> bool:
        """Nothing is to be read any more."""
        return self._over

    def deliver(self, state: State | None) -> None:
        """The block that was wanted; None ends it."""
        if self._ended:
            return
        if state is None:
            self.end()
            return
        self._index.unguard(self._names[self._read : self._read + 1])
        self._read += 1
        self._ready.append(state)
        self._lock.notify_all()

    def end(self) -> None:
        """Nothing more comes; what is read already may still be taken."""
        if not self._over:
            self._stop()

    def _stop(self) -> None:
        if not self._ended:
            self._index.unguard(self._names[self._read :])
            self._ended = True
        self._lock.notify_all()
