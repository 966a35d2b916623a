"""How fast memory is read, by the number of threads.

Each thread looks through memory of its own for a byte that is not there (C's `memchr`, which the C
libraries write with the widest instructions and which runs without the interpreter's lock). That
is plain reading in order, as decoding reads weights; writing and jumping about are slower. A C
library without wide instructions (musl) gives a lower number than the memory could.
"""

import ctypes
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from ai_assistant.devices.profile import ThreadRate

_PIECE = 4 << 20
"""Bytes between two looks at the clock."""
_LEAST = 16 << 20


def measure_memory(
    counts: Sequence[int], *, buffer_bytes: int, seconds: float
) -> tuple[ThreadRate, ...]:
    """Bytes per second at each number of threads; empty where memory is too short for it.

    `buffer_bytes` should be far more than the caches hold. Each of the most threads fills a part,
    so that on a NUMA machine the parts lie near to all of them; fewer threads read all parts.
    """
    most = max(counts, default=0)
    size = buffer_bytes // most // _PIECE * _PIECE if most else 0
    if size < _PIECE or size * most < _LEAST:
        return ()
    parts = _filled(most, size)
    each = seconds / len(counts) * 0.8
    return tuple(ThreadRate(count, _rate(count, parts, size, each)) for count in counts)


def _filled(count: int, size: int) -> list[Any]:
    """Memory that is really there, each part written by a thread of its own."""
    parts: list[Any] = [None] * count

    def fill(index: int) -> None:
        parts[index] = (ctypes.c_char * size)()
        ctypes.memset(parts[index], 1, size)

    _all_done([threading.Thread(target=fill, args=(index,)) for index in range(count)])
    return parts


def _all_done(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _rate(threads: int, parts: Sequence[Any], size: int, seconds: float) -> float:
    look = _library().memchr
    look.argtypes, look.restype = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], ctypes.c_void_p
    read = [0] * threads
    begun = time.perf_counter()
    deadline = begun + seconds

    def reader(index: int) -> None:
        while True:
            for part in parts[index::threads]:
                address = ctypes.addressof(part)
                for offset in range(0, size, _PIECE):
                    look(address + offset, 2, _PIECE)
                    read[index] += _PIECE
                    if time.perf_counter() >= deadline:
                        return

    _all_done([threading.Thread(target=reader, args=(index,)) for index in range(threads)])
    return sum(read) / (time.perf_counter() - begun)


def _library() -> Any:
    return ctypes.CDLL("msvcrt") if sys.platform == "win32" else ctypes.CDLL(None)
