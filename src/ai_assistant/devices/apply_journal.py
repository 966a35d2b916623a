"""What was changed of the system and what it was before: written whole before anything changes.

One file for each who changes something (`power`, `doctor`). A change that is not in the file has
not been made; one that is in it may not have been made yet: restoring looks before it writes.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil

from ai_assistant.devices.source import Source
from ai_assistant.protocol.files import write_whole

_BOOT = "/proc/sys/kernel/random/boot_id"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One setting: what it was, and what it is to be."""

    path: str
    before: str
    after: str
    between: tuple[str, ...] = ()
    """What it was set to by us on the way."""


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """The process that made the changes and takes them back when it ends."""

    pid: int
    started: float


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """The file."""

    at: str
    boot: str | None
    """Settings do not outlive the system's start: those of another one are gone by themselves."""
    steps: tuple[Step, ...]
    holder: Holder | None = None
    """None: they are to stay until somebody restores them."""


class DamagedJournal(Exception):
    """The file is there and cannot be read; its path is the message."""


class Journal:
    """One file; it exists exactly as long as something is changed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Entry | None:
        """What is noted; None: nothing is changed. Raises `DamagedJournal` and `OSError`."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Entry)
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DamagedJournal(str(self.path)) from error

    def write(self, source: Source, steps: tuple[Step, ...], *, held: bool) -> None:
        """Note these and nothing else; without steps the file goes. Raises `OSError`."""
        if not steps:
            self.path.unlink(missing_ok=True)
            return
        entry = Entry(
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            boot=source.read(_BOOT),
            steps=steps,
            holder=_this_process() if held else None,
        )
        write_whole(self.path, msgspec.json.format(msgspec.json.encode(entry)) + b"\n")


def power_journal(data: Path) -> Journal:
    """What a node has set for as long as it runs."""
    return Journal(data / "power-changes.json")


def doctor_journal(data: Path) -> Journal:
    """What the owner had set by `doctor --apply`."""
    return Journal(data / "doctor-changes.json")


def is_stale(entry: Entry, source: Source) -> bool:
    """Whether the system has been started anew since."""
    now = source.read(_BOOT)
    return entry.boot is not None and now is not None and entry.boot != now


def is_held(entry: Entry) -> bool:
    """Whether the process that made the changes is alive and will take them back itself."""
    holder = entry.holder
    if holder is None or holder.pid == os.getpid():
        return False
    try:
        return abs(psutil.Process(holder.pid).create_time() - holder.started) < 1
    except psutil.Error:
        return False


def _this_process() -> Holder:
    return Holder(pid=os.getpid(), started=psutil.Process().create_time())
