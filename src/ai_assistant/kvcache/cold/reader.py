"""The thread that fetches: it reads, verifies and unpacks ahead of the engine."""

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence

from ai_assistant.kvcache.blocks import State
from ai_assistant.kvcache.cold.fetch import Fetch
from ai_assistant.kvcache.cold.index import Index
from ai_assistant.kvcache.cold.opener import Opener
from ai_assistant.kvcache.cold.pace import Speed

log = logging.getLogger(__name__)


class Reader:
    """Serves the fetches in turns, a block each."""

    def __init__(self, opener: Opener, index: Index, lock: threading.Condition) -> None:
        self.speed = Speed()
        """Bytes of states."""
        self._opener = opener
        self._index = index
        self._lock = lock
        self._fetches: deque[Fetch] = deque()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="kv-cold-reader", daemon=True)
        self._thread.start()

    def fetch(self, names: Sequence[bytes]) -> Fetch:
        """Begin to read these blocks."""
        with self._lock:
            fetch = Fetch(names, self._index, self._lock)
            if self._stopping:
                fetch.end()
            self._fetches.append(fetch)
            self._lock.notify_all()
            return fetch

    def close(self, seconds: float) -> None:
        """End all fetches and the thread."""
        with self._lock:
            self._stopping = True
            for fetch in self._fetches:
                fetch.end()
            self._lock.notify_all()
        self._thread.join(seconds)

    def _run(self) -> None:
        while (work := self._next()) is not None:
            fetch, name = work
            state = self._opener.queued(name)
            if state is None:
                state = self._timed(name)
            with self._lock:
                fetch.deliver(state)

    def _timed(self, name: bytes) -> State | None:
        begun = time.perf_counter()
        try:
            state = self._opener.state(name)
        except Exception as error:  # noqa: BLE001 - who waits must hear of it: a miss
            log.warning("A block of the KV cache could not be read: %r", error)
            return None
        if state is not None:
            self.speed.measured(state.nbytes, time.perf_counter() - begun)
        return state

    def _next(self) -> tuple[Fetch, bytes] | None:
        with self._lock:
            while not self._stopping:
                if work := self._wanted():
                    return work
                self._lock.wait()
        return None

    def _wanted(self) -> tuple[Fetch, bytes] | None:
        """The first that can take a block goes to the end of the row; those read through leave."""
        for _ in range(len(self._fetches)):
            fetch = self._fetches.popleft()
            if fetch.all_read:
                continue
            self._fetches.append(fetch)
            if (name := fetch.wanted) is not None:
                return fetch, name
        return None
