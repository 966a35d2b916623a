"""The processor, from Linux's own files."""

from collections.abc import Iterable

from ai_assistant.devices.probe.cgroup import Group
from ai_assistant.devices.probe.features import ARM_CORES, instruction_sets
from ai_assistant.devices.probe.text import cpu_list, first, number, scaled, size, table
from ai_assistant.devices.profile import Cache, CoreKind, Cores, Cpu, NumaNode
from ai_assistant.devices.source import Source

CPUS = "/sys/devices/system/cpu"
_HYBRID: tuple[tuple[str, CoreKind], ...] = (
    ("/sys/devices/cpu_core/cpus", "performance"),
    ("/sys/devices/cpu_atom/cpus", "efficiency"),
    ("/sys/devices/cpu_lowpower/cpus", "low-power"),
)
_APART = 0.8
"""Cores that reach less than this share of the fastest are of another kind; favoured cores of one
kind differ by some per cent."""
_GUESTS = ("qemu", "kvm", "vmware", "xen", "virtualbox", "amazon ec2", "google", "microsoft corp")


def read_cpu(source: Source, group: Group) -> Cpu:
    """The processor of a Linux machine."""
    text = source.read("/proc/cpuinfo")
    info = table(text)
    online = _online(source, text)
    usable = set(cpu_list(table(source.read("/proc/self/status")).get("Cpus_allowed_list")))
    kinds = _kinds(source, info, online)
    words = _words(info)
    return Cpu(
        name=_name(info, text, kinds) or source.machine,
        machine=source.machine,
        instruction_sets=instruction_sets(words) if words else None,
        kinds=kinds,
        sockets=_sockets(source, text, online),
        physical=sum(one.cores for one in kinds),
        logical=len(online),
        usable=len(usable & set(online)) or len(online),
        quota_cores=group.quota_cores,
        caches=_caches(source, kinds, online),
        numa=_numa(source),
        hypervisor=_guest(source, words),
    )


def _online(source: Source, cpuinfo: str | None) -> tuple[int, ...]:
    listed = cpu_list(source.read(f"{CPUS}/online"))
    counted = sum(line.startswith("processor") for line in (cpuinfo or "").splitlines())
    return listed or tuple(range(max(1, counted)))


def _words(info: dict[str, str]) -> list[str]:
    words = first((info.get("flags"), info.get("Features"), info.get("features"))) or ""
    if "v" in info.get("isa", "").removeprefix("rv64").split("_")[0]:
        words += " rvv"
    return [*words.lower().split(), *info.get("cpu", "").lower().replace(",", " ").split()]


def _name(info: dict[str, str], text: str | None, kinds: tuple[Cores, ...]) -> str | None:
    if name := first((info.get("model name"), info.get("cpu"), info.get("uarch"))):
        return name
    parts = _arm_parts(text)
    names = [name for part in parts if (name := ARM_CORES.get(part))]
    if not names:
        return None
    return " + ".join(sorted(set(names), key=names.index)) if kinds else names[0]


def _arm_parts(text: str | None) -> list[tuple[int, int]]:
    found: dict[str, list[int]] = {"CPU implementer": [], "CPU part": []}
    for line in (text or "").splitlines():
        key, _, value = line.partition(":")
        value = value.strip()
        if key.strip() in found and value.lower().startswith("0x") and value[2:].isalnum():
            try:
                found[key.strip()].append(int(value, 16))
            except ValueError:
                continue
    pairs = zip(found["CPU implementer"], found["CPU part"], strict=False)
    return list(dict.fromkeys(pairs))


def _kinds(source: Source, info: dict[str, str], online: tuple[int, ...]) -> tuple[Cores, ...]:
    groups = _hybrid(source, online) or _by_capacity(source, online)
    if not groups:
        return (_cores(source, info, "all", online),)
    return tuple(_cores(source, info, kind, cpus) for kind, cpus in groups.items() if cpus)


def _hybrid(source: Source, online: tuple[int, ...]) -> dict[CoreKind, tuple[int, ...]]:
    """Intel's own lists, where there is more than one."""
    there: dict[CoreKind, tuple[int, ...]] = {}
    for path, kind in _HYBRID:
        if cpus := set(cpu_list(source.read(path))) & set(online):
            there[kind] = tuple(sorted(cpus))
    return there if len(there) > 1 else {}


def _by_capacity(source: Source, online: tuple[int, ...]) -> dict[CoreKind, tuple[int, ...]]:
    """ARM's capacities; elsewhere the highest frequencies, where they lie far apart."""
    for name in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
        values = {cpu: number(source.read(f"{CPUS}/cpu{cpu}/{name}")) for cpu in online}
        known = {cpu: value for cpu, value in values.items() if value}
        if len(known) < len(online) or not known:
            continue
        most = max(known.values())
        fast = tuple(cpu for cpu in online if known[cpu] >= _APART * most)
        if len(fast) < len(online):
            slow = tuple(cpu for cpu in online if cpu not in fast)
            return {"performance": fast, "efficiency": slow}
        return {}
    return {}


def _cores(source: Source, info: dict[str, str], kind: CoreKind, cpus: tuple[int, ...]) -> Cores:
    """The first core speaks for its kind."""
    topology = f"{CPUS}/cpu{cpus[0]}/topology"
    siblings = cpu_list(
        first(
            (
                source.read(f"{topology}/core_cpus_list"),
                source.read(f"{topology}/thread_siblings_list"),
            )
        )
    )
    threads = len(set(siblings) & set(cpus)) or _threads_by_cpuinfo(info)
    return Cores(
        kind=kind,
        cores=max(1, len(cpus) // threads),
        threads_per_core=threads,
        cpus=cpus,
        max_mhz=scaled(source.read(f"{CPUS}/cpu{cpus[0]}/cpufreq/cpuinfo_max_freq"), 1000),
    )


def _threads_by_cpuinfo(info: dict[str, str]) -> int:
    siblings, cores = number(info.get("siblings")), number(info.get("cpu cores"))
    return siblings // cores if siblings and cores and siblings >= cores else 1


def _sockets(source: Source, text: str | None, online: tuple[int, ...]) -> int | None:
    topology = f"{CPUS}/cpu{online[0]}/topology"
    package = first(
        (
            source.read(f"{topology}/package_cpus_list"),
            source.read(f"{topology}/core_siblings_list"),
        )
    )
    if cpus := cpu_list(package):
        return max(1, round(len(online) / len(cpus)))
    ids = {line for line in (text or "").splitlines() if line.startswith("physical id")}
    return len(ids) or None


def _caches(source: Source, kinds: tuple[Cores, ...], online: tuple[int, ...]) -> tuple[Cache, ...]:
    found: dict[Cache, None] = {}
    for cores in kinds:
        for folder in source.find(f"{CPUS}/cpu{cores.cpus[0]}/cache/index*"):
            if (source.read(f"{folder}/type") or "") == "Instruction":
                continue
            if unlike := _unlike(source, folder, cores, online):
                found |= dict.fromkeys(unlike)
                continue
            level, bytes_ = (
                number(source.read(f"{folder}/level")),
                size(source.read(f"{folder}/size")),
            )
            shared = cpu_list(source.read(f"{folder}/shared_cpu_list"))
            if level and bytes_ and shared:
                found[_cache(level, bytes_, set(shared), cores, online)] = None
    return tuple(sorted(found, key=lambda one: (one.level, -one.bytes)))


def _unlike(
    source: Source, folder: str, cores: Cores, online: tuple[int, ...]
) -> tuple[Cache, ...]:
    """Last caches of several sizes on one chip; nothing where all are alike."""
    level, name = number(source.read(f"{folder}/level")), folder.rpartition("/")[2]
    if level is None or level < 3:
        return ()
    counts: dict[int, int] = {}
    left = list(online if cores.kind == "all" else cores.cpus)
    while left:
        other = f"{CPUS}/cpu{left[0]}/cache/{name}"
        bytes_ = size(source.read(f"{other}/size"))
        shared = set(cpu_list(source.read(f"{other}/shared_cpu_list")))
        if not bytes_ or left[0] not in shared:
            return ()
        counts[bytes_] = counts.get(bytes_, 0) + 1
        left = [cpu for cpu in left if cpu not in shared]
    if len(counts) < 2:
        return ()
    return tuple(Cache(level=level, bytes=b, count=count) for b, count in counts.items())


def _cache(
    level: int, bytes_: int, shared: set[int], cores: Cores, online: tuple[int, ...]
) -> Cache:
    """A cache that cores of several kinds share belongs to all."""
    here = shared & set(online)
    if cores.kind == "all" or not here <= set(cores.cpus):
        count = round(len(online) / max(1, len(here)))
        return Cache(level=level, bytes=bytes_, count=max(1, count))
    count = round(len(cores.cpus) / max(1, len(here)))
    return Cache(level=level, bytes=bytes_, count=max(1, count), kind=cores.kind)


def _numa(source: Source) -> tuple[NumaNode, ...]:
    return tuple(
        _node(source, folder) for folder in source.find("/sys/devices/system/node/node[0-9]*")
    )


def _node(source: Source, folder: str) -> NumaNode:
    lines = (source.read(f"{folder}/meminfo") or "").splitlines()
    memory = {words[2].rstrip(":"): words[3] for line in lines if len(words := line.split()) >= 4}

    def kilobytes(key: str) -> int | None:
        value = number(memory.get(key))
        return None if value is None else value << 10

    return NumaNode(
        id=number(folder.rpartition("node")[2]) or 0,
        cpus=cpu_list(source.read(f"{folder}/cpulist")),
        total_bytes=kilobytes("MemTotal"),
        free_bytes=kilobytes("MemFree"),
    )


def _guest(source: Source, words: Iterable[str]) -> bool | None:
    if source.machine in ("x86_64", "amd64", "i686"):
        return "hypervisor" in words
    maker = first(
        source.read(f"/sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name")
    )
    return any(guest in maker.lower() for guest in _GUESTS) if maker else None
