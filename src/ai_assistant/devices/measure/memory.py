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
_LEAST = 8 << 20


def measure_memory(
    counts: Sequence[int], *, buffer_bytes: int, seconds: float
) -> tuple[ThreadRate, ...]:
    """Bytes per second at each number of threads; empty where memory is too short for it.

    `buffer_bytes`, shared among the threads, should be far more than the caches hold.
    """
    found: list[ThreadRate] = []
    for threads in counts:
        size = buffer_bytes // threads // _PIECE * _PIECE
        if size < _LEAST:
            break
        found.append(ThreadRate(threads, _rate(threads, size, seconds / len(counts) * 0.7)))
    return tuple(found)


def _library() -> Any:
    return ctypes.CDLL("msvcrt") if sys.platform == "win32" else ctypes.CDLL(None)


def _rate(threads: int, size: int, seconds: float) -> float:
    look = _library().memchr
    look.argtypes, look.restype = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], ctypes.c_void_p
    ready = threading.Barrier(threads + 1)
    stop = threading.Event()
    read = [0] * threads

    def reader(index: int) -> None:
        buffer = (ctypes.c_char * size)()
        address = ctypes.addressof(buffer)
        ctypes.memset(address, 1, size)  # By this thread: memory lies near to who writes it first.
        ready.wait()
        while not stop.is_set():
            for offset in range(0, size, _PIECE):
                look(address + offset, 2, _PIECE)
                read[index] += _PIECE
                if stop.is_set():
                    break

    workers = [threading.Thread(target=reader, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    try:
        ready.wait()
        begun, before = time.perf_counter(), sum(read)
        time.sleep(seconds)
        rate = (sum(read) - before) / (time.perf_counter() - begun)
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    return rate
