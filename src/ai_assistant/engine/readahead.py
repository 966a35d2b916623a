"""Reads a file into the page cache, in the order of need, on several threads."""

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count

import psutil

from ai_assistant.engine import readahead_advice as advice

READERS = 4
CHUNK = 8 << 20
RESERVE = 512 << 20
"""Bytes of memory that a read in the background leaves unused."""


class Ahead:
    """Runs beside a load; `stop` ends it within a chunk."""

    def __init__(self, path: str, *, most: int | None = None, readers: int = READERS) -> None:
        """`most`: bytes from the beginning on that there is room for. Raises `OSError`."""
        self._file = advice.Mapping(path)
        self.size = self._file.size if most is None else min(most, self._file.size)
        self._turn = count()
        self._lock = threading.Lock()
        self._done = 0
        self._stopped = False
        self.on_bytes: Callable[[int], None] = lambda _done: None
        """Hears how much has been read, on any thread."""
        self._threads = [
            threading.Thread(target=self._read, name="readahead", daemon=True)
            for _ in range(readers)
        ]

    def start(self) -> None:
        """Begin; returns at once."""
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        """Until all is read."""
        for thread in self._threads:
            thread.join()

    def stop(self) -> None:
        """End, whatever is still to be read; the mapping goes too."""
        self._stopped = True
        self.wait()
        self._file.close()

    @property
    def done(self) -> int:
        """Bytes that were read."""
        return self._done

    def _read(self) -> None:
        while not self._stopped and (start := next(self._turn) * CHUNK) < self.size:
            length = min(CHUNK, self.size - start)
            try:
                self._file.bring(start, length)
            except OSError:  # The load itself will say what is wrong with the file.
                return
            with self._lock:
                self._done += length
                self.on_bytes(self._done)


def free_memory() -> int:
    """Bytes that the page cache may take without pushing programs out."""
    return psutil.virtual_memory().available


def main(path: str, reserve: int = RESERVE) -> int:
    """Read a file in the background: only while memory is unused, at the lowest priority, half the
    time. Returns the exit code."""
    with suppress(OSError, AttributeError):
        os.nice(19)
    with suppress(OSError, AttributeError, psutil.Error, ValueError):
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)
    if advice.resident(path) > 0.98:
        return 0
    file = advice.Mapping(path)
    for start in range(0, file.size, CHUNK):
        if psutil.virtual_memory().free < reserve:
            return 1
        begun = time.perf_counter()
        file.bring(start, min(CHUNK, file.size - start))
        time.sleep(time.perf_counter() - begun)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
