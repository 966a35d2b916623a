"""Files out of the page cache, and how fast the disk below them is."""

import os
import threading
import time
from collections.abc import Callable
from mmap import mmap
from pathlib import Path

from ai_assistant.engine import readahead_advice as advice
from ai_assistant.engine.readahead import Ahead

READERS, BLOCK = 8, 1 << 20


def drop(path: Path) -> None:
    """Take a file out of the page cache; raises `RuntimeError` where it stays."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if advice.resident(str(path)) > 0.01:
        raise RuntimeError(f"{path} stays in the page cache: somebody uses it")


def direct(path: Path) -> float:
    """Bytes per second of eight readers past the page cache, as a machine's profile has it."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECT)
    size = os.fstat(handle).st_size // BLOCK * BLOCK

    def read(index: int) -> None:
        buffer = mmap(-1, BLOCK)
        for offset in range(index * BLOCK, size, READERS * BLOCK):
            os.preadv(handle, [buffer], offset)

    try:
        return size / _timed(read)
    finally:
        os.close(handle)


def buffered(path: Path) -> float:
    """The same through the page cache, with no byte copied."""
    drop(path)
    ahead = Ahead(str(path), readers=READERS)
    begun = time.perf_counter()
    ahead.start()
    ahead.wait()
    seconds = time.perf_counter() - begun
    ahead.stop()
    return ahead.size / seconds


def _timed(read: Callable[[int], None]) -> float:
    threads = [threading.Thread(target=read, args=(index,)) for index in range(READERS)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begun


def touch_memory(size: int) -> None:
    """Have so many bytes and give them back: on a virtual machine memory that was free for long has
    to be fetched from the host first, which would be counted against whoever comes first."""
    block = mmap(-1, size)
    for offset in range(0, size, 4096):
        block[offset] = 1
    block.close()
