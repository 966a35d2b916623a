"""What is asked of the system about pages of a file: fetch, map, lock, forget.

Linux answers all of it, macOS and Windows a part: what a system does not know is left out, and the
weights come by page faults as they would without us.
"""

import contextlib
import ctypes
import mmap
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

PAGE = mmap.PAGESIZE
_PIECE = 1 << 20
"""Bytes of one request to fetch: Linux cuts longer ones off."""
_WIDE = 2048
"""Kilobytes of the system's own readahead from which on it fills a disk's queue."""
_DONTNEED, _POPULATE_READ, _HUGEPAGE = 4, 22, 14
_RDADVISE = 44
"""macOS: F_RDADVISE"""
_PROT_READ, _MAP_SHARED = 1, 1


def _libc() -> Any:
    if sys.platform == "win32":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    address, size = ctypes.c_void_p, ctypes.c_size_t
    libc.madvise.argtypes = [address, size, ctypes.c_int]
    libc.mlock.argtypes = libc.munlock.argtypes = [address, size]
    libc.mincore.argtypes = [address, size, address]
    libc.mmap.restype = address
    libc.mmap.argtypes = [address, size, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.munmap.argtypes = [address, size]
    return libc


_C = _libc()


def fetch(handle: int, start: int, length: int) -> None:
    """Begin to read a part of a file into the page cache; returns before it is there."""
    for offset in range(start, start + length, _PIECE):
        piece = min(_PIECE, start + length - offset)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(handle, offset, piece, os.POSIX_FADV_WILLNEED)
        elif sys.platform == "darwin":
            import fcntl
            import struct

            with contextlib.suppress(OSError):
                fcntl.fcntl(handle, _RDADVISE, struct.pack("@qi", offset, piece))


def forget(handle: int, start: int, length: int) -> None:
    """Take a part of a file out of the page cache, as far as nobody maps it."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(handle, start, length, os.POSIX_FADV_DONTNEED)


def map_in(address: int, length: int) -> bool:
    """Read what is missing and map it; returns when it is there. False where it cannot be asked."""
    return _advise(address, length, _POPULATE_READ)


def map_out(address: int, length: int) -> bool:
    """Take file pages out of this process's map; they stay in the page cache."""
    return _advise(address, length, _DONTNEED)


def large_pages(address: int, length: int) -> bool:
    """Ask for huge pages where the system gives them on request."""
    return _advise(address, length, _HUGEPAGE)


def _advise(address: int, length: int, advice: int) -> bool:
    if sys.platform != "linux" or length <= 0:
        return False
    start = address // PAGE * PAGE
    return _C.madvise(start, address + length - start, advice) == 0


def lock(address: int, length: int) -> bool:
    """Read these pages and keep them; False where the owner may not lock so much."""
    return _C is not None and length > 0 and _C.mlock(address, length) == 0


def resident(path: str, start: int = 0, length: int | None = None) -> float:
    """Share of a file's pages that are in the page cache; 0 where that cannot be asked."""
    size = Path(path).stat().st_size - start if length is None else length
    if _C is None or size <= 0:
        return 0.0
    handle = os.open(path, os.O_RDONLY)
    begin = start // PAGE * PAGE
    size += start - begin
    try:
        address = _C.mmap(None, size, _PROT_READ, _MAP_SHARED, handle, begin)
        if address in (None, ctypes.c_void_p(-1).value):
            return 0.0
        pages = np.zeros(-(-size // PAGE), np.uint8)
        failed = _C.mincore(address, size, pages.ctypes.data)
        _C.munmap(address, size)
    finally:
        os.close(handle)
    return 0.0 if failed else float((pages & 1).mean())


class Mapping:
    """A file, mapped to bring its pages into the page cache: no byte is copied."""

    def __init__(self, path: str) -> None:
        """Raises `OSError`."""
        self._handle = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self._handle).st_size
        self._address: int | None = None
        if sys.platform == "linux" and self.size:
            address = _C.mmap(None, self.size, _PROT_READ, _MAP_SHARED, self._handle, 0)
            self._address = None if address in (None, ctypes.c_void_p(-1).value) else address
        # Then Linux reads pieces of 2 MiB into huge pages, from several threads too, whatever the
        # disk's readahead is: quicker to read, to map and, as weights, to compute with.
        large = self._address is not None and large_pages(self._address, self.size)
        self._fetches = not large and small_windows(path)

    def bring(self, start: int, length: int) -> None:
        """Return when this part (from a page on) is in the page cache."""
        if self._fetches or self._address is None:
            fetch(self._handle, start, length)
        if self._address is not None and map_in(self._address + start, length):
            map_out(self._address + start, length)
        else:
            read_through(self._handle, start, length)

    def close(self) -> None:
        """Unmap and close."""
        if self._address is not None:
            _C.munmap(self._address, self.size)
            self._address = None
        os.close(self._handle)


def read_through(handle: int, start: int, length: int) -> None:
    """Where pages cannot be asked for: reading brings them into the page cache too."""
    if not hasattr(os, "preadv"):
        return
    buffer = bytearray(1 << 20)
    offset = start
    while offset < start + length and (done := os.preadv(handle, [buffer], offset)):
        offset += done


def small_windows(path: str) -> bool:
    """Whether the system reads so little ahead of a page fault that asking for more pays."""
    device = Path(path).stat().st_dev
    base = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}" if hasattr(os, "major") else ""
    for place in (f"{base}/bdi/read_ahead_kb", f"{base}/../bdi/read_ahead_kb"):
        with contextlib.suppress(OSError, ValueError):
            return int(Path(place).read_text()) < _WIDE
    return True


def mapped_at(path: str) -> int | None:
    """Where a file's beginning is in this process's map, or would be: libllama gives back the ends
    that hold no tensor. None where that is not known."""
    wanted = str(Path(path).resolve())
    with contextlib.suppress(OSError), open("/proc/self/maps") as maps:
        for line in maps:
            fields = line.rstrip("\n").split(maxsplit=5)
            if len(fields) == 6 and fields[5] == wanted:
                return int(fields[0].partition("-")[0], 16) - int(fields[2], 16)
    return None
