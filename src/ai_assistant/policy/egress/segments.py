"""The log's files, and the lock that lets one program write."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ai_assistant.protocol.files import lock_alone

_NAME = re.compile(r"egress-(\d{8})\.jsonl\Z")
_LOCK = "egress.lock"


class Line(NamedTuple):
    """A line of a file; `whole` if its end is there."""

    number: int
    data: bytes
    whole: bool


def segments(folder: Path) -> list[Path]:
    """The files in order."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _NAME.match(path.name))


def number_of(path: Path) -> int:
    """Its place among the files, from 1."""
    match = _NAME.match(path.name)
    return int(match[1]) if match else 0


def segment(folder: Path, number: int) -> Path:
    """Where the file of that number is."""
    return folder / f"egress-{number:08}.jsonl"


def lines(path: Path) -> Iterator[Line]:
    """The file's lines without their ends."""
    with path.open("rb") as file:
        for number, data in enumerate(file, 1):
            yield Line(number, data.rstrip(b"\n"), data.endswith(b"\n"))


def take_lock(folder: Path) -> int:
    """A handle that keeps others out while it is open; raises `BlockingIOError`."""
    handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    if not lock_alone(handle):
        os.close(handle)
        raise BlockingIOError("another program writes the egress log")
    return handle


def sync_folder(folder: Path) -> None:
    """Make a new file's name last."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
