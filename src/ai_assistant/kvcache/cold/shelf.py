"""The folder as a whole, all models in it: what is there, and taking it away. Nothing is opened
but the small file that says which model it is."""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from ai_assistant.kvcache.blocks import BlockId
from ai_assistant.kvcache.cold import quarantine
from ai_assistant.kvcache.cold.daily import written_by
from ai_assistant.kvcache.cold.files import Draft
from ai_assistant.kvcache.cold.format import overhead
from ai_assistant.kvcache.cold.names import (
    file_name,
    is_fingerprint,
    parse_file_name,
)

_ABOUT = "about.json"


class Shelved(msgspec.Struct, frozen=True):
    """A block's file."""

    fingerprint: str
    """In hexadecimal, the name of its folder."""
    block: BlockId
    size: int
    """Bytes of the file."""
    used: float
    """Seconds since 1970."""
    pinned: bool = False

    @property
    def stored(self) -> int:
        """Bytes of the packed state."""
        return max(0, self.size - overhead(self.block))

    def path(self, folder: Path) -> Path:
        """Where it lies."""
        return folder / self.fingerprint / file_name(self.block, pinned=self.pinned)


class ModelShelf(msgspec.Struct, frozen=True, kw_only=True):
    """The blocks of one model."""

    fingerprint: str
    about: dict[str, str]
    """What the engine wrote: `model`, `path`, `kv_type`; may be empty."""
    blocks: int
    bytes: int
    tokens: int
    pinned: int
    """Blocks that never go by themselves."""
    used: float
    """Seconds since 1970."""


class FolderStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The folder in figures."""

    folder: str
    bytes: int
    blocks: int
    written_today: int
    quarantined: int
    quarantined_bytes: int
    models: list[ModelShelf]
    """Those that have blocks, the one used last first."""


class Removed(msgspec.Struct, frozen=True):
    """What a purge took away."""

    files: int
    bytes: int


def scan(folder: Path) -> list[Shelved]:
    """Every block of every model, by the names of the files; an unreadable folder is empty."""
    return [found for home in homes(folder) for found in scan_home(home)]


def homes(folder: Path) -> list[Path]:
    """The folders of all models."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries if is_fingerprint(entry.name)]
    return []


def scan_home(home: Path) -> Iterator[Shelved]:
    """Every block of one model."""
    with contextlib.suppress(OSError), os.scandir(home) as entries:
        for entry in entries:
            parsed = parse_file_name(entry.name)
            if parsed is None:
                continue
            block, pinned = parsed
            with contextlib.suppress(OSError):
                facts = entry.stat(follow_symlinks=False)
                yield Shelved(home.name, block, facts.st_size, facts.st_mtime, pinned)


def written_today(folder: Path) -> int:
    """Bytes written to the folder today, by all processes."""
    return sum(written_by(home) for home in homes(folder))


def write_about(home: Path, about: dict[str, str]) -> None:
    """Say which model a folder belongs to; raises `OSError`."""
    Draft(home / _ABOUT, [msgspec.json.encode(about)]).keep(sync=False)


def read_about(home: Path) -> dict[str, str]:
    """Which model it belongs to; empty where that is not known."""
    try:
        return msgspec.json.decode((home / _ABOUT).read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError):
        return {}


def model_shelves(folder: Path) -> list[ModelShelf]:
    """The models that have blocks, the one used last first."""
    shelves = [_shelf(home, blocks) for home in homes(folder) if (blocks := list(scan_home(home)))]
    return sorted(shelves, key=lambda one: -one.used)


def _shelf(home: Path, blocks: list[Shelved]) -> ModelShelf:
    return ModelShelf(
        fingerprint=home.name,
        about=read_about(home),
        blocks=len(blocks),
        bytes=sum(one.size for one in blocks),
        tokens=sum(one.block.count for one in blocks),
        pinned=sum(one.pinned for one in blocks),
        used=max(one.used for one in blocks),
    )


def status(folder: Path) -> FolderStatus:
    """The whole folder."""
    models = model_shelves(folder)
    refused = quarantine.contents(folder)
    return FolderStatus(
        folder=str(folder),
        bytes=sum(one.bytes for one in models),
        blocks=sum(one.blocks for one in models),
        written_today=written_today(folder),
        quarantined=len(refused),
        quarantined_bytes=sum(size for _, size in refused),
        models=models,
    )


def purge(
    folder: Path, fingerprints: Iterable[str], *, unused_seconds: float | None = None
) -> Removed:
    """Delete the blocks of these models; with `unused_seconds` only older ones, and no pinned ones.

    A running engine takes what it no longer finds as a miss.
    """
    wanted = set(fingerprints)
    shelved = [one for one in scan(folder) if one.fingerprint in wanted]
    if unused_seconds is not None:
        limit = time.time() - unused_seconds
        shelved = [one for one in shelved if one.used < limit and not one.pinned]
    return remove((one.path(folder), one.size) for one in shelved)


def purge_quarantine(folder: Path) -> Removed:
    """Delete the files that were refused."""
    return remove(quarantine.contents(folder))


def remove(files: Iterable[tuple[Path, int]]) -> Removed:
    """Delete files, given with their bytes; what is gone already does not count."""
    count = total = 0
    for path, size in files:
        with contextlib.suppress(OSError):
            path.unlink()
            count, total = count + 1, total + size
    return Removed(count, total)
