"""How fast the engine would read a file that it streams: with the loader's own readers and pages.

Reading past the page cache says less than that: where one disk gave readers of 8 MiB 1.1 to 1.5
GB/s, the loader had 2.3 to 2.7 by the same minute's clock. So the loader's way is what is timed, on
parts of the very file that are not in the page cache, and these are taken out of it again.
"""

import os
import threading
import time
from itertools import cycle

from ai_assistant.engine.readahead_advice import Mapping, forget, resident
from ai_assistant.engine.readahead_stream import CHUNK, READERS

ENOUGH = 16
"""Chunks that are not in memory: with fewer a disk does not reach its pace."""
BEHIND = 4
"""Chunks for each reader that stay a moment: as in the engine, pages just left are used anew."""
_CACHED = 0.02
"""Share of a chunk that may be in memory."""
WARMING = 0.25
"""Share of the time that is not counted: the first pages come from far away."""


def reading_speed(path: str, seconds: float) -> float | None:
    """Bytes per second; None where too much of the file is in memory, or it cannot be read."""
    try:
        size = os.stat(path).st_size
        chunks = [start for start in range(0, size, CHUNK)
                  if resident(path, start, min(CHUNK, size - start)) <= _CACHED]  # fmt: skip
        return _timed(path, chunks, seconds) if len(chunks) >= ENOUGH else None
    except OSError:
        return None


def _timed(path: str, chunks: list[int], seconds: float) -> float | None:
    reading = _Reading(path, chunks)
    threads = [threading.Thread(target=reading.run, name="reading") for _ in range(READERS)]
    for thread in threads:
        thread.start()
    time.sleep(seconds * WARMING)
    before, begun = reading.done, time.perf_counter()
    time.sleep(seconds * (1 - WARMING))
    done, took = reading.done - before, time.perf_counter() - begun
    reading.ended = True
    for thread in threads:
        thread.join()
    reading.close()
    return done / took if done and not reading.failed else None


class _Reading:
    """Chunk after chunk, by several threads; few are in memory at once, none in the end."""

    def __init__(self, path: str, chunks: list[int]) -> None:
        self._file = Mapping(path)
        self._handle = os.open(path, os.O_RDONLY)
        self._chunks = chunks
        self._next = cycle(chunks)
        self._held: list[int] = []
        self._lock = threading.Lock()
        self.done = 0
        self.ended = self.failed = False

    def run(self) -> None:
        """One reader, until it is told that it is over."""
        while not (self.ended or self.failed):
            with self._lock:
                start = next(self._next)
            length = min(CHUNK, self._file.size - start)
            try:
                self._file.bring(start, length)
            except OSError:
                self.failed = True
            with self._lock:
                self.done += length
                self._held.append(start)
                gone = self._held.pop(0) if len(self._held) > BEHIND * READERS else None
            if gone is not None:
                forget(self._handle, gone, CHUNK)

    def close(self) -> None:
        """Once all readers have ended."""
        self._file.close()
        for start in self._chunks:
            forget(self._handle, start, CHUNK)
        os.close(self._handle)
