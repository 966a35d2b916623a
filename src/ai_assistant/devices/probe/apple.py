"""The processor and memory of a Mac, from `sysctl` and `vm_stat`."""

import re

from ai_assistant.devices.probe.features import instruction_sets
from ai_assistant.devices.probe.text import number, size, table
from ai_assistant.devices.profile import Cache, CoreKind, Cores, Cpu, Memory
from ai_assistant.devices.source import Source

_KINDS: dict[str, CoreKind] = {"Efficiency": "efficiency"}


def sysctl(source: Source) -> dict[str, str]:
    """Everything about hardware that the system tells."""
    return table(source.run("sysctl", "hw", "machdep.cpu"))


def read_cpu(source: Source, known: dict[str, str]) -> Cpu:
    """The processor; Apple's own have one or more kinds of cores."""
    logical = _count(known, "hw.logicalcpu") or _count(known, "hw.ncpu") or 1
    kinds, caches = _levels(known)
    if not kinds:
        physical = _count(known, "hw.physicalcpu") or logical
        kinds = (Cores(kind="all", cores=physical, threads_per_core=max(1, logical // physical)),)
        caches = _intel_caches(known, physical)
    return Cpu(
        name=known.get("machdep.cpu.brand_string") or known.get("hw.model") or source.machine,
        machine=source.machine,
        instruction_sets=instruction_sets(_words(known)),
        kinds=kinds,
        sockets=_count(known, "hw.packages") or 1,
        physical=sum(one.cores for one in kinds),
        logical=logical,
        usable=logical,
        quota_cores=None,
        caches=caches,
        hypervisor=known["kern.hv_vmm_present"] == "1" if "kern.hv_vmm_present" in known else None,
    )


def _count(known: dict[str, str], key: str) -> int | None:
    return number(known.get(key))


def _levels(known: dict[str, str]) -> tuple[tuple[Cores, ...], tuple[Cache, ...]]:
    """Kinds of cores, the fastest first, and the caches of each."""
    kinds: list[Cores] = []
    caches: list[Cache] = []
    for level in range(_count(known, "hw.nperflevels") or 0):
        prefix = f"hw.perflevel{level}."
        cores = _count(known, f"{prefix}physicalcpu")
        if not cores:
            continue
        kind = _KINDS.get(known.get(f"{prefix}name", ""), "efficiency" if level else "performance")
        threads = (_count(known, f"{prefix}logicalcpu") or cores) // cores
        kinds.append(Cores(kind=kind, cores=cores, threads_per_core=max(1, threads)))
        for number_, key, shared in ((1, "l1dcachesize", 1), (2, "l2cachesize", None)):
            if bytes_ := _count(known, prefix + key):
                each = shared or _count(known, f"{prefix}cpusperl2") or cores
                count = max(1, cores // each)
                caches.append(Cache(level=number_, bytes=bytes_, count=count, kind=kind))
    return tuple(kinds), tuple(sorted(caches, key=lambda one: (one.level, -one.bytes)))


def _intel_caches(known: dict[str, str], physical: int) -> tuple[Cache, ...]:
    found = (
        (1, _count(known, "hw.l1dcachesize"), physical),
        (2, _count(known, "hw.l2cachesize"), physical),
        (3, _count(known, "hw.l3cachesize"), 1),
    )
    return tuple(Cache(level=level, bytes=b, count=count) for level, b, count in found if b)


def _words(known: dict[str, str]) -> list[str]:
    words: list[str] = []
    for key, value in known.items():
        if key.startswith("machdep.cpu.") and key.endswith("features"):
            words += value.split()
        elif key.startswith("hw.optional.") and value == "1":
            words.append(key.rpartition(".")[2])
    return words


def read_memory(source: Source, known: dict[str, str]) -> Memory | None:
    """What is free, or can be made free without swapping."""
    total = _count(known, "hw.memsize")
    if not total:
        return None
    text = source.run("vm_stat") or ""
    page = re.search(r"page size of (\d+) bytes", text)
    counts = table(text)
    kinds = ("Pages free", "Pages inactive", "Pages speculative", "Pages purgeable")
    pages = sum(number(counts.get(kind)) or 0 for kind in kinds)
    free = pages * int(page[1]) if page else 0
    swap = re.findall(r"(total|free) = (\S+)", source.run("sysctl", "vm.swapusage") or "")
    sizes = {word: size(amount) for word, amount in swap}
    return Memory(
        total_bytes=total,
        free_bytes=min(free, total),
        machine_bytes=total,
        swap_total_bytes=sizes.get("total"),
        swap_free_bytes=sizes.get("free"),
    )
