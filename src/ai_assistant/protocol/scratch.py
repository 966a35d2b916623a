"""Folders for files that nobody needs once their process has ended, however it ends.

A process that is killed deletes nothing. But its lock ends with it: by that, whoever comes next
tells its folder from one in use, and deletes it.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

from ai_assistant.protocol.files import lock_alone

_NAMES = "ai-assistant-"
_LOCK = ".in-use"


@contextlib.contextmanager
def scratch_folder(purpose: str) -> Generator[Path]:
    """A new folder in the system's folder for such, for its owner alone and deleted afterwards.
    Raises `OSError`."""
    folder, lock = _claimed(f"{_NAMES}{purpose}-")
    try:
        yield folder
    finally:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


def sweep() -> None:
    """Delete what processes that were killed have left there: some seconds, for gigabytes."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_NAMES}*"):
        with contextlib.suppress(OSError):
            _delete_unused(folder)


def _claimed(prefix: str) -> tuple[Path, int]:
    """A folder and the handle that keeps sweepers out while it is open."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        lock_alone(lock, wait=True)  # Where files cannot be locked nobody sweeps.
        if (folder / _LOCK).exists():
            return folder, lock
        os.close(lock)  # It was swept before it was locked.


def _delete_unused(folder: Path) -> None:
    if folder.lstat().st_uid != _own_id():
        return
    lock = os.open(folder / _LOCK, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    try:
        if lock_alone(lock):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _own_id() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0  # As Windows says of all files.
