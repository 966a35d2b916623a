"""Main memory, from Linux's own files."""

import re

from ai_assistant.devices.probe.cgroup import Group
from ai_assistant.devices.probe.text import number, table
from ai_assistant.devices.profile import Memory, Pressure
from ai_assistant.devices.source import Source


def read_memory(source: Source, group: Group) -> Memory | None:
    """What this process can have; None if the kernel does not tell."""
    known = table(source.read("/proc/meminfo"))

    def kilobytes(key: str) -> int | None:
        value = number(known.get(key))
        return None if value is None or value < 0 else value << 10

    total = kilobytes("MemTotal")
    if not total:
        return None
    available = kilobytes("MemAvailable")
    if available is None:  # Kernels before 3.14.
        available = sum(kilobytes(key) or 0 for key in ("MemFree", "Buffers", "Cached"))
    limit = group.memory_limit if group.memory_limit and group.memory_limit < total else None
    available = min(available, total)
    free = available if limit is None else min(available, max(0, limit - group.memory_used))
    return Memory(
        total_bytes=limit or total,
        free_bytes=free,
        machine_bytes=total,
        limit_bytes=limit,
        swap_total_bytes=kilobytes("SwapTotal"),
        swap_free_bytes=kilobytes("SwapFree"),
        pressure=_pressure(source, group),
    )


def _pressure(source: Source, group: Group) -> Pressure | None:
    """Of the group where it tells, else of the whole machine."""
    text = source.read(f"{group.path}/memory.pressure") if group.version == 2 else None
    return parse_pressure(text or source.read("/proc/pressure/memory"))


def parse_pressure(text: str | None) -> Pressure | None:
    """From lines like `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`."""
    found = {
        (kind, span): float(value)
        for kind, rest in re.findall(r"(some|full) (.*)", text or "")
        for span, value in re.findall(r"avg(10|60)=(\d+(?:\.\d+)?)", rest)
    }
    try:
        return Pressure(
            some_10s=found["some", "10"],
            some_60s=found["some", "60"],
            full_10s=found["full", "10"],
            full_60s=found["full", "60"],
        )
    except KeyError:
        return None
