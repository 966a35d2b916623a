"""The profile on disk: `machine.json`, whole or not at all, for the machine it tells of."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import structs

from ai_assistant.devices.probe import probe
from ai_assistant.devices.profile import VERSION, Accelerator, Profile
from ai_assistant.devices.source import Source
from ai_assistant.protocol.files import write_whole

FILE = "machine.json"


def utc_now() -> str:
    """The time in the form of RFC 3339."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def save(folder: Path, profile: Profile) -> Path:
    """Put it in the place of the old one; raises `OSError` and leaves that."""
    write_whole(folder / FILE, msgspec.json.format(msgspec.json.encode(profile)) + b"\n")
    return folder / FILE


def load(folder: Path) -> Profile | None:
    """The one that was measured last; None if there is none that can be used."""
    try:
        found = msgspec.json.decode((folder / FILE).read_bytes(), type=Profile)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if found.version == VERSION else None


def current(
    source: Source, folders: Sequence[str], where: Path, *, with_kernels: bool = True
) -> Profile:
    """The machine as it is now, with what was measured of it, if it is still the same machine.

    Not measured (`measured_at` is None): there is no measurement, or the hardware has changed.
    """
    fresh = probe(source, folders, now=utc_now(), with_kernels=with_kernels)
    known = load(where)
    if known is None or known.fingerprint != fresh.fingerprint:
        return fresh
    return with_measurements(fresh, known)


def with_measurements(fresh: Profile, known: Profile) -> Profile:
    """What is free, hot and plugged in now, and what was measured then."""
    asked = fresh.kernels is not None or fresh.kernels_error is not None
    speeds = {(one.device, one.pci): one.speed for one in known.accelerators}
    disks = {(one.mount, one.device, one.model): one.speed for one in known.disks}
    cards = fresh.accelerators if asked else _with_free(known.accelerators, fresh.accelerators)
    return structs.replace(
        fresh,
        measured_at=known.measured_at,
        disturbed=known.disturbed,
        seconds=known.seconds,
        kernels=fresh.kernels if asked else known.kernels,
        cpu=structs.replace(
            fresh.cpu, matrices=known.cpu.matrices, launch_seconds=known.cpu.launch_seconds
        ),
        memory=structs.replace(fresh.memory, read=known.memory.read),
        accelerators=tuple(
            structs.replace(one, speed=speeds.get((one.device, one.pci))) for one in cards
        ),
        disks=tuple(
            structs.replace(one, speed=disks.get((one.mount, one.device, one.model)))
            for one in fresh.disks
        ),
    )


def _with_free(
    known: tuple[Accelerator, ...], fresh: tuple[Accelerator, ...]
) -> tuple[Accelerator, ...]:
    """The kernels' devices of then, with the memory that drivers say is free now."""
    free = {one.pci: one.memory_free_bytes for one in fresh if one.pci}
    return tuple(
        structs.replace(one, memory_free_bytes=now) if (now := free.get(one.pci or "")) else one
        for one in known
    )
