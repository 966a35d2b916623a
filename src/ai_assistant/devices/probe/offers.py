"""What Linux offers beyond plain memory: swap, compression, huge pages, asynchronous reading."""

import re
from typing import Literal

from ai_assistant.devices.probe.cgroup import Group
from ai_assistant.devices.probe.text import chosen, number, table
from ai_assistant.devices.profile import Disk, Offers, Swap
from ai_assistant.devices.source import Source

_IO_URING_SINCE = (5, 6)
"""The first kernel whose io_uring reads files as we would use it."""


def read_offers(source: Source, group: Group, disks: tuple[Disk, ...]) -> Offers:
    """Facts; `devices/judge.py` judges them."""
    if source.system != "Linux":
        return Offers()
    kernel = _kernel(source)
    memory = table(source.read("/proc/meminfo"))
    huge, each = number(memory.get("HugePages_Total")), number(memory.get("Hugepagesize"))
    zswap = source.read("/sys/module/zswap/parameters/enabled")
    zrams = [number(source.read(path)) for path in source.find("/sys/block/zram*/disksize")]
    locked, files = _limits(source.read("/proc/self/limits"))
    return Offers(
        kernel=kernel,
        swaps=parse_swaps(source.read("/proc/swaps")),
        swappiness=number(source.read("/proc/sys/vm/swappiness")),
        zswap=None if zswap is None else zswap in ("Y", "1"),
        zram_bytes=sum(one or 0 for one in zrams) or None,
        huge_pages=chosen(source.read("/sys/kernel/mm/transparent_hugepage/enabled")),
        reserved_huge_bytes=None if huge is None or each is None else huge * (each << 10),
        io_uring=_io_uring(source, kernel),
        cgroup=group.version,
        cgroup_path=group.path,
        pressure=source.read("/proc/pressure/memory") is not None,
        lock_limit_bytes=locked,
        open_files=files,
        readahead_bytes=_readahead(source, disks),
    )


def _kernel(source: Source) -> str | None:
    if release := source.read("/proc/sys/kernel/osrelease"):
        return release
    words = (source.read("/proc/version") or "").split()
    return words[2] if words[:2] == ["Linux", "version"] and len(words) > 2 else None


def parse_swaps(text: str | None) -> tuple[Swap, ...] | None:
    """`/proc/swaps`; None if it is not there, empty if nothing is swapped to."""
    if text is None:
        return None
    found: list[Swap] = []
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) < 4 or not words[2].isdecimal() or not words[3].isdecimal():
            continue
        name = words[0].rpartition("/")[2]
        kind: Literal["zram", "file", "partition"] = (
            "zram" if name.startswith("zram") else "file" if words[1] == "file" else "partition"
        )
        total, used = int(words[2]) << 10, int(words[3]) << 10
        found.append(Swap(path=words[0], kind=kind, total_bytes=total, used_bytes=used))
    return tuple(found)


def _io_uring(source: Source, kernel: str | None) -> bool | None:
    """Containers often refuse it besides; only trying tells."""
    version = re.match(r"(\d+)\.(\d+)", kernel or "")
    if version is None:
        return None
    if (int(version[1]), int(version[2])) < _IO_URING_SINCE:
        return False
    disabled = number(source.read("/proc/sys/kernel/io_uring_disabled"))
    return disabled in (None, 0)


def _limits(text: str | None) -> tuple[int | None, int | None]:
    """Bytes that may be locked and files that may be open, from `/proc/self/limits`."""

    def soft(name: str) -> int | None:
        found = re.search(rf"^{name}\s+(\d+|unlimited)", text or "", re.MULTILINE)
        return int(found[1]) if found and found[1].isdecimal() else None

    return soft("Max locked memory"), soft("Max open files")


def _readahead(source: Source, disks: tuple[Disk, ...]) -> int | None:
    for disk in disks[:1]:
        name = (disk.device or "").partition(", ")[0].rpartition("/")[2]
        value = number(source.read(f"/sys/class/block/{name}/queue/read_ahead_kb"))
        return None if value is None else value << 10
    return None
