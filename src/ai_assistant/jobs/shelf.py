"""The files' contents: each is there whole or not at all, under a name that we gave it."""

import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self

from ai_assistant.jobs.errors import JobsDiskFull, JobsUnavailable
from ai_assistant.protocol.errors import NotFound

_ID = re.compile(r"file-[0-9a-f]{24}")
_PART = ".part"
_HOUR = 3600.0
RESERVE = 64 << 20
"""Bytes of the disk that no upload may take."""


def new_file_id() -> str:
    """An id that nobody can guess."""
    return f"file-{secrets.token_hex(12)}"


def derived_file_id(batch: str, kind: str) -> str:
    """The id of a batch's output: the same however often it is written."""
    return f"file-{sha256(f'{batch} {kind}'.encode()).hexdigest()[:24]}"


class Shelf:
    """A folder of contents. Methods block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, name: str) -> Path:
        """Where a content lies; raises `NotFound` for what is no id of ours."""
        if _ID.fullmatch(name) is None:
            raise NotFound(f"There is no file {name[:64]!r}.", param="file_id")
        return self._folder / name

    def begin(self, name: str) -> "Scratch":
        """A new content; raises `JobsDiskFull` where hardly any room is left."""
        if shutil.disk_usage(self._folder).free < RESERVE:
            raise _full(self._folder)
        return Scratch(self.path(name))

    def drop(self, name: str) -> None:
        """Delete a content; one that is gone already is no problem."""
        self.path(name).unlink(missing_ok=True)

    def tidy(self, known: set[str], *, older_than: float = _HOUR) -> None:
        """Delete what a crash left behind: half written, or written and not entered.

        What is younger may be another node's, that is still writing.
        """
        for path in self._folder.iterdir():
            lost = path.name.endswith(_PART) or _ID.fullmatch(path.name)
            if lost and path.name not in known and _age(path) >= older_than:
                path.unlink(missing_ok=True)


class Scratch:
    """A content that is being written. Leaving the block without `keep` throws it away."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_PART}")
        self.name = path.name
        self.bytes = 0
        with _translated(path):
            handle = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            self._file = os.fdopen(handle, "wb", buffering=1 << 18)

    def write(self, data: bytes) -> None:
        """Append; raises `JobsDiskFull`."""
        with _translated(self._path):
            self._file.write(data)
        self.bytes += len(data)

    def keep(self) -> None:
        """It is whole: give it its name. It is on the disk when this returns."""
        with _translated(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._part.replace(self._path)
            _sync_folder(self._path.parent)

    def discard(self) -> None:
        """Throw it away, if it was not kept."""
        with suppress(OSError):  # What could not be written is not wanted any more.
            self._file.close()
        self._part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()


@contextmanager
def _translated(path: Path) -> Generator[None]:
    """A full disk, in words."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(path.parent) from error
        raise JobsUnavailable(
            f"A file cannot be written in {path.parent}: {error.strerror}."
        ) from error


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _full(folder: Path) -> JobsDiskFull:
    return JobsDiskFull(f"The disk of {folder} is full: free some space, then try again.")


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
