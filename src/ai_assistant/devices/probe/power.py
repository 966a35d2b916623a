"""What power and heat can be read and set by: RAPL, NVML, hwmon, thermal zones, cpufreq."""

from collections.abc import Iterator, Sequence

from ai_assistant.devices.probe.text import number, scaled
from ai_assistant.devices.profile import Power, Sensor
from ai_assistant.devices.source import NvidiaCard, Source

_FREQUENCIES = "/sys/devices/system/cpu/cpufreq"
_FREQUENCY = f"{_FREQUENCIES}/policy0"
_ABSURD = 200.0
"""Degrees: sensors that are not connected report such."""


def read_power(source: Source, cards: Sequence[NvidiaCard]) -> Power:
    """Every sensor, and how the processor's frequency is governed."""
    governors = source.read(f"{_FREQUENCY}/scaling_available_governors") or ""
    return Power(
        sensors=(*_rapl(source), *_nvml(cards), *_hwmon(source), *_thermal(source)),
        governor=source.read(f"{_FREQUENCY}/scaling_governor"),
        governors=tuple(governors.split()),
        frequency_driver=source.read(f"{_FREQUENCY}/scaling_driver"),
        min_mhz=min(_limits(source, "min"), default=None),
        max_mhz=max(_limits(source, "max"), default=None),
        on_battery=_on_battery(source),
    )


def _limits(source: Source, which: str) -> list[float]:
    """Of every kind of cores, in MHz."""
    paths = source.find(f"{_FREQUENCIES}/policy[0-9]*/cpuinfo_{which}_freq")
    values = [scaled(source.read(path), 1000) for path in paths]
    return [value for value in values if value]


def _rapl(source: Source) -> Iterator[Sensor]:
    """Counters of energy; only root may read them on most systems."""
    for folder in source.find("/sys/class/powercap/*:*"):
        path = f"{folder}/energy_uj"
        if source.find(path):
            yield Sensor(
                source="rapl",
                name=source.read(f"{folder}/name") or folder.rpartition("/")[2],
                reading="energy",
                path=path,
                value=scaled(source.read(path), 1e6),
                limit=scaled(source.read(f"{folder}/constraint_0_power_limit_uw"), 1e6),
                wraps_at=scaled(source.read(f"{folder}/max_energy_range_uj"), 1e6),
            )


def _nvml(cards: Sequence[NvidiaCard]) -> Iterator[Sensor]:
    for card in cards:
        where = f"nvml:{card.index}"
        if card.energy is not None:
            yield Sensor(
                source="nvml", name=card.name, reading="energy", path=where, value=card.energy
            )
        if card.power is not None:
            yield Sensor(
                source="nvml",
                name=card.name,
                reading="power",
                path=where,
                value=card.power,
                limit=card.power_limit,
            )
        if card.temperature is not None:
            yield Sensor(
                source="nvml",
                name=card.name,
                reading="temperature",
                path=where,
                value=card.temperature,
                limit=card.temperature_limit,
            )


def _hwmon(source: Source) -> Iterator[Sensor]:
    for folder in source.find("/sys/class/hwmon/hwmon[0-9]*"):
        chip = source.read(f"{folder}/name") or folder.rpartition("/")[2]
        for path in source.find(f"{folder}/temp[0-9]*_input"):
            yield from _temperature(source, chip, path)
        for pattern in ("power[0-9]*_average", "power[0-9]*_input"):
            for path in source.find(f"{folder}/{pattern}"):
                base = path.rpartition("_")[0]
                yield Sensor(
                    source="hwmon",
                    name=_named(source, chip, base),
                    reading="power",
                    path=path,
                    value=scaled(source.read(path), 1e6),
                    limit=scaled(source.read(f"{base}_cap"), 1e6),
                )


def _temperature(source: Source, chip: str, path: str) -> Iterator[Sensor]:
    base = path.removesuffix("_input")
    value = scaled(source.read(path), 1000)
    if value is not None and not 0 < value < _ABSURD:
        return
    limits = [scaled(source.read(f"{base}_{name}"), 1000) for name in ("crit", "max")]
    yield Sensor(
        source="hwmon",
        name=_named(source, chip, base),
        reading="temperature",
        path=path,
        value=value,
        limit=next((one for one in limits if one is not None and 0 < one < _ABSURD), None),
    )


def _named(source: Source, chip: str, base: str) -> str:
    label = source.read(f"{base}_label")
    return f"{chip} {label}" if label else chip


def _thermal(source: Source) -> Iterator[Sensor]:
    for folder in source.find("/sys/class/thermal/thermal_zone[0-9]*"):
        path = f"{folder}/temp"
        value = scaled(source.read(path), 1000)
        if value is not None and 0 < value < _ABSURD:
            yield Sensor(
                source="thermal",
                name=source.read(f"{folder}/type") or folder.rpartition("/")[2],
                reading="temperature",
                path=path,
                value=value,
                limit=_critical(source, folder),
            )


def _critical(source: Source, folder: str) -> float | None:
    for path in source.find(f"{folder}/trip_point_[0-9]*_type"):
        if source.read(path) == "critical":
            return scaled(source.read(path.removesuffix("_type") + "_temp"), 1000)
    return None


def _on_battery(source: Source) -> bool | None:
    """Whether no mains is there; None on a machine without a battery."""
    supplies = source.find("/sys/class/power_supply/*")
    kinds = {folder: source.read(f"{folder}/type") for folder in supplies}
    if "Battery" not in kinds.values():
        return None
    mains = [folder for folder, kind in kinds.items() if kind in ("Mains", "USB")]
    return not any(number(source.read(f"{folder}/online")) == 1 for folder in mains)
