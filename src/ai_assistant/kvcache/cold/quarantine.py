"""Where files go that were not what they said: kept for a look, few of them."""

import contextlib
import os
from pathlib import Path

from ai_assistant.kvcache.cold.files import make_private
from ai_assistant.kvcache.cold.names import QUARANTINE

MAX_FILES = 16
MAX_BYTES = 256 << 20


def set_aside(folder: Path, path: Path) -> None:
    """Move a bad file out of the way, and delete the oldest ones there where they are too many."""
    kept = folder / QUARANTINE
    try:
        make_private(kept)
        path.replace(kept / f"{path.parent.name}-{path.name}")
    except OSError:
        with contextlib.suppress(OSError):
            path.unlink()
    _bound(folder)


def contents(folder: Path) -> list[tuple[Path, int]]:
    """The files and their bytes, those that came last first."""
    found: list[tuple[int, Path, int]] = []
    with contextlib.suppress(OSError), os.scandir(folder / QUARANTINE) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                facts = entry.stat()
                found.append((facts.st_ctime_ns, Path(entry.path), facts.st_size))
    return [(path, size) for _, path, size in sorted(found, reverse=True)]


def _bound(folder: Path) -> None:
    total = 0
    for rank, (path, size) in enumerate(contents(folder)):
        total += size
        if rank >= MAX_FILES or total > MAX_BYTES:
            with contextlib.suppress(OSError):
                path.unlink()
