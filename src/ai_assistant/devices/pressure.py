"""How short memory is: read from the system through the same port as everything else, and judged.

Linux tells by PSI (how long programs wait for memory), by the control group's limit and by what is
free; macOS by a level of its own.
"""

from typing import Literal

import msgspec

from ai_assistant.devices.probe.cgroup import Group, read_group
from ai_assistant.devices.probe.memory import parse_pressure
from ai_assistant.devices.probe.text import number, table
from ai_assistant.devices.source import Source

Level = Literal["calm", "tight", "critical"]

WAITING, STALLED = 10.0, 5.0
"""Per cent of ten seconds in which some, or all, programs wait for memory."""
TIGHT, CRITICAL, ROOMY = 0.06, 0.025, 0.10
"""Shares of the memory that are free: below, below, and above before it is called calm again."""
CALM_WAITING = 1.0
_APPLE = "kern.memorystatus_vm_pressure_level"
_APPLE_WARNS, _APPLE_CRITICAL = 2, 4


class PressureFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the system tells; None where it does not."""

    total: int | None = None
    """Bytes that this process may have: the machine's, or its control group's."""
    free: int | None = None
    """Of these: free, or cached and soon free."""
    some: float | None = None
    """Per cent of the last ten seconds in which a program waited for memory."""
    full: float | None = None
    """The same of all programs at once."""
    killed: int = 0
    """Processes of the group that the kernel ended for want of memory, ever."""
    apple: int | None = None
    """macOS: 1 normal, 2 warning, 4 critical."""


def read_pressure(source: Source) -> PressureFacts:
    """The machine as it is now; nothing raises."""
    if source.system == "Darwin":
        return PressureFacts(apple=number(source.run("sysctl", "-n", _APPLE)))
    group = read_group(source)
    known = table(source.read("/proc/meminfo"))
    total, free = _kilobytes(known, "MemTotal"), _kilobytes(known, "MemAvailable")
    limit, left, killed = _of_group(source, group)
    if limit is not None and (total is None or limit < total):
        total, free = limit, left if free is None or left is None else min(left, free)
    told = source.read(f"{group.path}/memory.pressure") if group.version == 2 else None
    waits = parse_pressure(told or source.read("/proc/pressure/memory"))
    return PressureFacts(
        total=total,
        free=free,
        some=waits.some_10s if waits else None,
        full=waits.full_10s if waits else None,
        killed=killed,
    )


def _of_group(source: Source, group: Group) -> tuple[int | None, int | None, int]:
    """The limit, what is left of it, and how many were killed."""
    if group.path is None or group.memory_limit is None:
        return None, None, 0
    stat = table(source.read(f"{group.path}/memory.stat"), " ")
    if group.version == 2:
        # What can be dropped at once is taken off already.
        left = group.memory_limit - group.memory_used + (number(stat.get("active_file")) or 0) // 2
        events = table(source.read(f"{group.path}/memory.events"), " ")
        return group.memory_limit, left, number(events.get("oom_kill")) or 0
    cached = number(stat.get("total_inactive_file")) or number(stat.get("inactive_file")) or 0
    killed = table(source.read(f"{group.path}/memory.oom_control"), " ").get("oom_kill")
    return group.memory_limit, group.memory_limit - group.memory_used + cached, number(killed) or 0


def _kilobytes(known: dict[str, str], key: str) -> int | None:
    value = number(known.get(key))
    return None if value is None or value < 0 else value << 10


def judge(now: PressureFacts, before: PressureFacts, level: Level) -> Level:
    """How short memory is. It is called calm again only when there is more room than it takes to be
    called tight, or every relief would end itself."""
    share = now.free / now.total if now.free is not None and now.total else 1.0
    some, full, apple = now.some or 0.0, now.full or 0.0, now.apple or 0
    if share < CRITICAL or full > STALLED or apple >= _APPLE_CRITICAL or now.killed > before.killed:
        return "critical"
    if share < TIGHT or some > WAITING or apple >= _APPLE_WARNS:
        return "tight"
    if level != "calm" and (share < ROOMY or some > CALM_WAITING):
        return "tight"
    return "calm"
