"""Files that are there whole or not at all, and for their owner's eyes only."""

import contextlib
import itertools
import os
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

_TEMPORARY = ".tmp-"
_ABANDONED_SECONDS = 3600
"""No write takes that long: the process number now belongs to another one."""
_numbers = itertools.count()
_born = time.time()


def make_private(folder: Path) -> None:
    """Create the folder and those above it; this one is the owner's alone."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


class Draft:
    """A file under a temporary name, on its way to disk; `keep` gives it its own name."""

    def __init__(self, target: Path, pieces: Sequence[memoryview | bytes]) -> None:
        """Write it, without waiting for the disk. Raises `OSError` and leaves nothing behind."""
        self._target = target
        self._path = target.with_name(f"{_TEMPORARY}{os.getpid()}-{next(_numbers)}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        self._handle = os.open(self._path, flags, 0o600)
        try:
            for piece in pieces:
                _write_all(self._handle, memoryview(piece))
            _start_writing_back(self._handle)
        except BaseException:
            self.discard()
            raise

    def keep(self, *, sync: bool = True) -> None:
        """Wait for the disk, then put it in place. Raises `OSError` and leaves nothing behind."""
        try:
            if sync:
                os.fsync(self._handle)
            self._close()
            self._path.replace(self._target)
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """As if it had never been."""
        self._close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _close(self) -> None:
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            os.close(handle)


def _write_all(handle: int, data: memoryview) -> None:
    while data:
        data = data[os.write(handle, data) :]


def _start_writing_back(handle: int) -> None:
    """Linux answers this advice by sending the file's pages on their way, without waiting."""
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)


def remove_abandoned(folder: Path) -> None:
    """Delete what processes that are no more have left half written."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(_TEMPORARY) and _is_abandoned(entry):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


def _is_abandoned(entry: "os.DirEntry[str]") -> bool:
    owner = entry.name.removeprefix(_TEMPORARY).split("-")[0]
    try:
        written = entry.stat().st_mtime
    except OSError:
        return False
    if owner == str(os.getpid()):
        return written < _born - 1
    alive = owner.isdecimal() and psutil.pid_exists(int(owner))
    return not alive or time.time() - written > _ABANDONED_SECONDS
