"""A disk that takes its time: what is to be written to a file waits until somebody reads it."""

import contextlib
import os
import threading
from collections.abc import Generator
from pathlib import Path


@contextlib.contextmanager
def slow_disk(path: Path, seconds: float) -> Generator[None]:
    """`write_whole` of that file by this process takes so long, and then fails."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    os.mkfifo(scratch)
    ends: list[int] = []

    def read() -> None:
        ends.append(os.open(scratch, os.O_RDONLY | os.O_NONBLOCK))

    reading = threading.Timer(seconds, read)
    reading.start()
    try:
        yield
    finally:
        reading.join()
        for end in ends:
            os.close(end)
