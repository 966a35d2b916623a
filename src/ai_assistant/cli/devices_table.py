"""The machine as text: a line for each thing, numbers with units."""

from collections.abc import Iterator

import click

from ai_assistant.cli.output import columns, size
from ai_assistant.devices.profile import Accelerator, Cores, Cpu, Disk, Memory, Profile, Sensor
from ai_assistant.protocol.kernels import MatrixRate

_DISKS = {
    "nvme": "NVMe",
    "ssd": "SSD",
    "hdd": "spinning disk",
    "card": "memory card",
    "network": "over the network",
    "memory": "in memory",
    "unknown": "kind unknown",
}
_SHOWN_SENSORS = 8


def page(profile: Profile) -> str:
    """The whole report."""
    parts = [
        _section("Machine", machine_rows(profile)),
        _section("Processor", cpu_rows(profile.cpu)),
        _section("Memory", memory_rows(profile.memory)),
        _section("Accelerators", list(_accelerator_rows(profile))),
        _section("Disks", [row for one in profile.disks for row in disk_rows(one)]),
        _section("Power and heat", list(_power_rows(profile))),
        _section("Network", _link_rows(profile)),
        _products(profile),
    ]
    if profile.measured_at is None:
        hint = "Not measured yet. Next: ai-assistant devices --measure"
    else:
        busy = (
            " Other programs were busy: measure again when they rest." if profile.disturbed else ""
        )
        hint = f"Measured at {profile.measured_at} in {profile.seconds or 0:.0f} s.{busy}"
    return "\n\n".join([*filter(None, parts), click.style(hint, dim=True)])


def _section(title: str, rows: list[tuple[str, str]]) -> str:
    if not rows:
        return ""
    lines = [f"  {name:<14} {text}" for name, text in rows]
    return "\n".join([click.style(title, bold=True), *lines])


def machine_rows(profile: Profile) -> list[tuple[str, str]]:
    """What it is called and what runs on it."""
    system = " ".join(filter(None, (profile.system, profile.offers.kernel)))
    rows = [("model", profile.model or ""), ("system", system)]
    kernels = profile.kernels or f"none: {profile.kernels_error}"
    return [row for row in [*rows, ("kernels", kernels)] if row[1]]


def cpu_rows(cpu: Cpu) -> list[tuple[str, str]]:
    """Name, cores, limits, instruction sets, caches, NUMA."""
    cores = f"{cpu.physical} cores, {cpu.logical} threads"
    if cpu.sockets and cpu.sockets > 1:
        cores += f", {cpu.sockets} sockets"
    if len(cpu.kinds) > 1:
        cores += f" ({', '.join(map(_kind, cpu.kinds))})"
    rows = [("name", cpu.name), ("cores", cores)]
    if cpu.quota_cores is not None or cpu.usable < cpu.logical:
        quota = "" if cpu.quota_cores is None else f", quota {cpu.quota_cores:g} cores"
        rows.append(("usable", f"{cpu.usable} threads{quota}"))
    rows.append(("instructions", _instructions(cpu)))
    if cpu.caches:
        rows.append(("caches", ", ".join(_caches(cpu))))
    if len(cpu.numa) > 1:
        each = [size(one.total_bytes or 0) for one in cpu.numa]
        alike = f"{len(each)} nodes of {each[0]}" if len(set(each)) == 1 else ", ".join(each)
        rows.append(("NUMA", alike))
    if cpu.hypervisor:
        rows.append(("guest", "a hypervisor runs this machine"))
    return rows


def _instructions(cpu: Cpu) -> str:
    if cpu.instruction_sets is None:
        return "cannot be read here"
    return ", ".join(cpu.instruction_sets) or "none that kernels use; older than SSE4.2"


def _kind(cores: Cores) -> str:
    return f"{cores.cores} {cores.kind}"


def _caches(cpu: Cpu) -> Iterator[str]:
    for one in cpu.caches:
        times = f"{one.count} × " if one.count > 1 else ""
        kind = "" if one.kind == "all" else f" ({one.kind})"
        yield f"L{one.level} {times}{_binary(one.bytes)}{kind}"


def _binary(count: int) -> str:
    return f"{count / 2**20:.4g} MiB" if count >= 1 << 20 else f"{count / 2**10:.4g} KiB"


def memory_rows(memory: Memory) -> list[tuple[str, str]]:
    """Size, what is free, pressure and speed."""
    text = f"{size(memory.free_bytes)} free of {size(memory.total_bytes)}"
    if memory.limit_bytes:
        text += f" (limit; the machine has {size(memory.machine_bytes)})"
    rows = [("size", text)]
    if memory.swap_total_bytes:
        free = size(memory.swap_free_bytes or 0)
        rows.append(("swap", f"{free} free of {size(memory.swap_total_bytes)}"))
    if memory.pressure:
        rows.append(("pressure", f"{memory.pressure.some_60s:.1f} % of the last minute"))
    if memory.read:
        rates = [f"{one.bytes_per_second / 1e9:.1f} ({one.threads})" for one in memory.read]
        rows.append(("read", f"{', '.join(rates)} GB/s (threads)"))
    return rows


def _accelerator_rows(profile: Profile) -> Iterator[tuple[str, str]]:
    for one in profile.accelerators:
        yield from accelerator_rows(one)
    engines: dict[str, int] = {}
    for one in profile.media:
        engines[one.kind] = engines.get(one.kind, 0) + 1
    if engines:
        yield "video decoders", ", ".join(f"{n} × {k}" if n > 1 else k for k, n in engines.items())


def accelerator_rows(one: Accelerator) -> Iterator[tuple[str, str]]:
    """Name, memory, and speed where it was measured."""
    facts = [one.name]
    if one.memory_total_bytes:
        free = f"{size(one.memory_free_bytes)} free of " if one.memory_free_bytes else ""
        facts.append(f"{free}{size(one.memory_total_bytes)}")
    if one.shares_memory:
        facts.append("shares main memory")
    if one.link_generation and one.link_lanes:
        facts.append(f"PCIe {one.link_generation}.0 ×{one.link_lanes}")
    if one.device is None:
        facts.append("unused: the kernels were not built for it")
    yield one.device or "-", ", ".join(facts)
    if (speed := one.speed) and speed.copy_bytes_per_second:
        text = f"own memory {speed.copy_bytes_per_second / 1e9:.0f} GB/s"
        if speed.to_device_pinned:
            text += f", to it {speed.to_device_pinned / 1e9:.1f} GB/s"
        if speed.to_device_pageable:
            text += f" ({speed.to_device_pageable / 1e9:.1f} pageable)"
        if speed.boundary_seconds:
            text += f", boundary {speed.boundary_seconds * 1e6:.0f} µs"
        yield "", text


def disk_rows(disk: Disk) -> Iterator[tuple[str, str]]:
    """Where, what kind, how fast."""
    kind = _DISKS[disk.kind]
    facts = [disk.mount or "", f"{kind} ({disk.model})" if disk.model else kind]
    if disk.free_bytes is not None and disk.total_bytes is not None:
        facts.append(f"{size(disk.free_bytes)} free of {size(disk.total_bytes)}")
    yield (disk.device or "-").rpartition("/")[2], ", ".join(filter(None, facts))
    if (speed := disk.speed) and speed.sequential:
        text = f"reads {size(speed.sequential)}/s"
        if speed.parallel:
            text += f", {speed.readers} readers {size(speed.parallel)}/s"
        if speed.random_4k:
            text += f", 4k {size(speed.random_4k)}/s"
        yield "", text


def _power_rows(profile: Profile) -> Iterator[tuple[str, str]]:
    power = profile.power
    if power.governor:
        frequency = f", {power.min_mhz:.0f} to {power.max_mhz:.0f} MHz" if power.max_mhz and power.min_mhz else ""  # fmt: skip  # noqa: E501
        yield "governor", f"{power.governor} ({power.frequency_driver}){frequency}"
    if power.on_battery is not None:
        yield "supply", "battery" if power.on_battery else "mains"
    for one in power.sensors[:_SHOWN_SENSORS]:
        yield one.source, f"{one.name}: {_reading(one)}"
    if len(power.sensors) > _SHOWN_SENSORS:
        yield "", f"and {len(power.sensors) - _SHOWN_SENSORS} more (--json)"


def _reading(sensor: Sensor) -> str:
    if sensor.value is None:
        return f"{sensor.reading}, not readable by this user"
    unit = {"energy": "J", "power": "W", "temperature": "°C"}[sensor.reading]
    limit = f" of {sensor.limit:.0f}" if sensor.limit and sensor.reading != "energy" else ""
    return f"{sensor.value:.0f}{limit} {unit}"


def _link_rows(profile: Profile) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for one in profile.links:
        if one.kind == "virtual":
            continue
        speed = f", {one.bits_per_second / 1e9:g} Gbit/s" if one.bits_per_second else ""
        rows.append((one.name, f"{one.kind}, {'up' if one.up else 'down'}{speed}"))
    return rows


def _products(profile: Profile) -> str:
    """How fast matrix products are, device by device."""
    rows = [
        row
        for name, rates in [
            ("CPU", profile.cpu.matrices),
            *((one.device or "", one.speed.matrices) for one in profile.accelerators if one.speed),
        ]
        for row in product_rows(name, rates)
    ]
    if not rows:
        return ""
    head = ("device", "threads", "weights", "1 token", "8", "32", "128", "512 tokens")
    note = "One token: GB/s of weights read. More: GFLOP/s."
    return f"{click.style('Matrix products', bold=True)}\n{columns(head, rows)}\n{note}"


def product_rows(device: str, rates: tuple[MatrixRate, ...]) -> Iterator[tuple[str, ...]]:
    """A row for each kind of weights and number of threads."""
    kinds = list(dict.fromkeys((one.threads, one.weights) for one in rates))
    for threads, weights in kinds:
        cells: list[str] = []
        for tokens in (1, 8, 32, 128, 512):
            known = [
                one
                for one in rates
                if (one.threads, one.weights, one.tokens) == (threads, weights, tokens)
            ]
            cells.append(_cell(known[-1]) if known else "-")
        yield device, str(threads or "-"), weights, *cells


def _cell(rate: MatrixRate) -> str:
    if rate.tokens == 1:
        return f"{rate.bytes_per_second / 1e9:.1f} GB/s"
    return f"{rate.flops_per_second / 1e9:.0f}"
