"""Reads a machine: quick, harmless, without measuring. A recorded machine looks like a real one."""

import hashlib
import platform
from collections.abc import Sequence

import psutil
from msgspec import structs

from ai_assistant.devices.probe import apple, cgroup, cpu, memory
from ai_assistant.devices.probe.accelerators import read_accelerators
from ai_assistant.devices.probe.disks import read_disks
from ai_assistant.devices.probe.links import read_links
from ai_assistant.devices.probe.media import read_media
from ai_assistant.devices.probe.offers import read_offers
from ai_assistant.devices.probe.power import read_power
from ai_assistant.devices.probe.text import read_first
from ai_assistant.devices.profile import Cores, Cpu, Memory, Profile
from ai_assistant.devices.source import NvidiaCard, Source
from ai_assistant.protocol.kernels import KernelReport

_MODEL_FILES = ("/proc/device-tree/model", "/sys/class/dmi/id/product_name")
_NAMELESS = ("", "System Product Name", "To Be Filled By O.E.M.", "Default string", "None")


def probe(
    source: Source, folders: Sequence[str] = (), *, now: str, with_kernels: bool = True
) -> Profile:
    """The machine, not measured. `folders` are those that models and caches live in.

    Without the kernels nothing is started: tens of milliseconds, for `fingerprint` and status.
    """
    report = source.kernels() if with_kernels else None
    cards = source.cards()
    profile = _mac(source) if source.system == "Darwin" else _linux(source)
    disks = read_disks(source, tuple(folders))
    profile = structs.replace(
        profile,
        read_at=now,
        accelerators=read_accelerators(source, report, cards, cpu=profile.cpu.name),
        kernels=report.version if report else None,
        kernels_error=_kernels_error(report) if with_kernels else None,
        media=read_media(source, cards),
        disks=disks,
        power=read_power(source, cards),
        links=read_links(source),
        offers=read_offers(source, cgroup.read_group(source), disks),
    )
    return structs.replace(profile, fingerprint=fingerprint(source, profile, cards))


def _kernels_error(report: KernelReport | None) -> str | None:
    return report.error if report else "The kernels' process did not answer."


def _linux(source: Source) -> Profile:
    """Linux, and what little is known of others."""
    group = cgroup.read_group(source)
    model = read_first(source, _MODEL_FILES)
    return Profile(
        read_at="",
        system=source.system,
        model=None if model in _NAMELESS else model,
        cpu=cpu.read_cpu(source, group) if source.read("/proc/cpuinfo") else _portable_cpu(source),
        memory=memory.read_memory(source, group) or _portable_memory(),
    )


def _mac(source: Source) -> Profile:
    known = apple.sysctl(source)
    return Profile(
        read_at="",
        system=source.system,
        model=known.get("hw.model"),
        cpu=apple.read_cpu(source, known),
        memory=apple.read_memory(source, known) or _portable_memory(),
    )


def _portable_cpu(source: Source) -> Cpu:
    """What the interpreter knows on every system."""
    logical = psutil.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or logical
    return Cpu(
        name=platform.processor() or source.machine,
        machine=source.machine,
        instruction_sets=None,
        kinds=(Cores(kind="all", cores=physical, threads_per_core=max(1, logical // physical)),),
        sockets=None,
        physical=physical,
        logical=logical,
        usable=logical,
        quota_cores=None,
    )


def _portable_memory() -> Memory:
    known = psutil.virtual_memory()
    return Memory(total_bytes=known.total, free_bytes=known.available, machine_bytes=known.total)


def fingerprint(source: Source, profile: Profile, nvidia: Sequence[NvidiaCard]) -> str:
    """Changes with the processor, memory, cards, quota and the kernels' build.

    Does not change with what is free, warm or plugged in for a moment, nor with disks, whose speeds
    stand for themselves, nor with the kernels' own list of devices: it is made without them.
    """
    known = read_accelerators(source, None, nvidia, cpu=profile.cpu.name)
    cards = sorted(f"{one.pci} {one.name}" for one in known)
    facts = (
        profile.system,
        profile.cpu.name,
        profile.cpu.physical,
        profile.cpu.logical,
        profile.cpu.usable,
        profile.cpu.quota_cores,
        profile.memory.machine_bytes >> 26,
        (profile.memory.limit_bytes or 0) >> 26,
        cards,
        source.stamp(),
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
