"""Reads a file into the page cache, in the order of need, on several threads."""

import threading
from collections.abc import Callable
from itertools import count

import psutil

from ai_assistant.engine import readahead_advice as advice

READERS = 4
CHUNK = 8 << 20


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
    try:
        with open("/proc/meminfo") as lines:
            known = dict(line.split(":", 1) for line in lines)
        return int(known["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError, IndexError):
        return psutil.virtual_memory().available
