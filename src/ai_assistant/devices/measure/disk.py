"""How fast a disk is read, past the system's cache.

A large file of the folder is read directly (`O_DIRECT`): that neither uses nor spoils the cache.
Where there is none, or the file system refuses, a file of our own is written, read and removed.
"""

import mmap
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from ai_assistant.devices.profile import DiskSpeed

BLOCK, PAGE = 4 << 20, 4 << 10
READERS = 8
_LARGE = 64 << 20
"""Bytes of a file that is worth reading."""
_OWN = 96 << 20
_ROOM = 1 << 30
"""Bytes that must be free where we write."""
_MANY_FILES = 5_000
"""Files looked at, at most, for a large one."""
_NOCACHE = 48
"""macOS: F_NOCACHE"""


class _File(msgspec.Struct, frozen=True):
    """An open file that is read past the cache, and its size in whole blocks."""

    handle: int
    size: int
    method: str


def measure_disk(folders: Sequence[str], seconds: float) -> DiskSpeed | None:
    """What the disk below these folders does; None if it cannot be read past the cache."""
    places = [Path(folder) for folder in folders if Path(folder).is_dir()]
    if not hasattr(os, "preadv"):
        return None
    try:
        with _opened(places) as file:
            return None if file is None else _measured(file, seconds)
    except OSError:
        return None


def _measured(file: _File, seconds: float) -> DiskSpeed:
    third = seconds / 3
    return DiskSpeed(
        sequential=_rate(file, 1, BLOCK, third, random_order=False),
        parallel=_rate(file, READERS, 1 << 20, third, random_order=False),
        readers=READERS,
        random_4k=_rate(file, 1, PAGE, third, random_order=True),
        method=file.method,
    )


@contextmanager
def _opened(places: Sequence[Path]) -> Generator[_File | None]:
    large = _large_file(places)
    if large and (file := _direct(large)):
        with _closing(file):
            yield file
        return
    place = next((place for place in places if _has_room(place)), None)
    if place is None:
        yield None
        return
    handle, name = tempfile.mkstemp(dir=place, prefix=".speed-")
    try:
        _write(handle)
        file = _direct(Path(name)) or _dropping(Path(name))
    finally:  # It lives on until it is closed, and no longer, whatever ends this process.
        os.close(handle)
        os.unlink(name)
    with _closing(file):
        yield file


@contextmanager
def _closing(file: _File | None) -> Generator[None]:
    try:
        yield
    finally:
        if file:
            os.close(file.handle)


def _has_room(place: Path) -> bool:
    return os.access(place, os.W_OK) and shutil.disk_usage(place).free > _ROOM


def _large_file(places: Sequence[Path]) -> Path | None:
    """The largest of some files, models before others."""
    best: tuple[bool, int, Path] | None = None
    seen = 0
    for place in places:
        for folder, _, names in os.walk(place):
            for name in names:
                seen += 1
                path = Path(folder, name)
                with suppress(OSError):
                    size = path.stat().st_size
                    found = (path.suffix == ".gguf", size, path)
                    if size >= _LARGE and path.is_file() and (best is None or found > best):
                        best = found
            if seen > _MANY_FILES:
                return best[2] if best else None
    return best[2] if best else None


def _direct(path: Path) -> _File | None:
    """Open for reading past the cache; None where the file system does not do that."""
    if not hasattr(os, "O_DIRECT"):
        return None
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError:
        return None
    try:
        os.preadv(handle, [mmap.mmap(-1, PAGE)], 0)
    except OSError:  # Some file systems refuse only now.
        os.close(handle)
        return None
    return _File(handle, os.fstat(handle).st_size // BLOCK * BLOCK, "direct")


def _dropping(path: Path) -> _File | None:
    """Open a file of our own whose pages the cache is asked to forget, or never to keep."""
    if sys.platform == "darwin":
        import fcntl

        handle = os.open(path, os.O_RDONLY)
        fcntl.fcntl(handle, _NOCACHE, 1)
        return _File(handle, _OWN, "direct")
    if hasattr(os, "posix_fadvise") and hasattr(os, "preadv"):
        return _File(os.open(path, os.O_RDONLY), _OWN, "dropped")
    return None


def _write(handle: int) -> None:
    """Bytes that no file system can leave out or press together."""
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(handle, _NOCACHE, 1)
    for _ in range(_OWN // BLOCK):
        os.write(handle, os.urandom(BLOCK))
    os.fsync(handle)


def _rate(
    file: _File, readers: int, block: int, seconds: float, *, random_order: bool
) -> float | None:
    """Bytes per second of so many readers; each takes every so-many-th block."""
    if file.method == "dropped":
        os.posix_fadvise(file.handle, 0, 0, os.POSIX_FADV_DONTNEED)
    begun = time.perf_counter()
    deadline = begun + seconds
    read, failed = [0] * readers, list[OSError]()

    def reader(index: int) -> None:
        try:
            read[index] = _read(file, _offsets(file, index, readers, block, random_order), deadline)
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=reader, args=(index,)) for index in range(readers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return None if failed else sum(read) / (time.perf_counter() - begun)


def _offsets(
    file: _File, index: int, readers: int, block: int, random_order: bool
) -> tuple[int, Callable[[int], int]]:
    """The block's size, and the place of the n-th one."""
    count = file.size // block
    if random_order:
        pick = random.Random(index)
        return block, lambda _: pick.randrange(count) * block
    return block, lambda turn: (turn * readers + index) % count * block


def _read(file: _File, plan: tuple[int, Callable[[int], int]], deadline: float) -> int:
    block, place = plan
    buffer: Any = mmap.mmap(-1, block)
    once = file.method == "dropped"  # What has been read is in the cache again.
    turns = file.size // block if once else sys.maxsize
    done = 0
    for turn in range(turns):
        done += os.preadv(file.handle, [buffer], place(turn))
        if time.perf_counter() >= deadline:
            break
    return done
