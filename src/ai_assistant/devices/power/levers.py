"""Settings of the system that a mode asks for: governor, preference, RAPL's and NVIDIA's limits.

Only named here. A setting that the machine does not have, or a value that it does not offer, is
not among them.
"""

from collections.abc import Iterable, Iterator, Sequence

from ai_assistant.devices.apply_port import NVML
from ai_assistant.devices.judge import CHOOSES_ITSELF, Change
from ai_assistant.devices.power.modes import Mode
from ai_assistant.devices.probe.text import scaled
from ai_assistant.devices.source import NvidiaCard, Source

_POLICIES = "/sys/devices/system/cpu/cpufreq/policy*"
_FIRST = "/sys/devices/system/cpu/cpufreq/policy0"
_GOVERNORS = {
    "max": ("performance",),
    "balanced": ("schedutil", "ondemand"),
    "quiet": ("powersave", "conservative"),
}
_PREFERENCES = {
    "max": "performance",
    "balanced": "balance_performance",
    "quiet": "power",
    "watts": "balance_power",
}
CARD_SHARES = {"balanced": 0.75, "quiet": 0.0}
"""Of the way from a card's least limit to its usual one."""


def levers(source: Source, mode: Mode, cards: Sequence[NvidiaCard]) -> tuple[Change, ...]:
    """What to write where, in this order."""
    return (
        *_frequency(source, mode),
        *_packages(source, mode, cards),
        *_cards(mode, cards, source),
    )


def _frequency(source: Source, mode: Mode) -> Iterator[Change]:
    driver = source.read(f"{_FIRST}/scaling_driver") or ""
    offered = (source.read(f"{_FIRST}/scaling_available_governors") or "").split()
    if driver not in CHOOSES_ITSELF:
        wanted = [one for one in _GOVERNORS.get(mode.kind, ()) if one in offered]
        if wanted:
            yield Change(path=f"{_POLICIES}/scaling_governor", value=wanted[0])
        return
    words = (source.read(f"{_FIRST}/energy_performance_available_preferences") or "").split()
    # Under `performance` the driver refuses every other preference.
    free = source.read(f"{_FIRST}/scaling_governor") != "performance"
    if free and _PREFERENCES[mode.kind] in words:
        path = f"{_POLICIES}/energy_performance_preference"
        yield Change(path=path, value=_PREFERENCES[mode.kind])


def _packages(source: Source, mode: Mode, cards: Sequence[NvidiaCard]) -> Iterator[Change]:
    if mode.watts is None:
        return
    limits = _package_limits(source)
    share = _share(mode.watts, limits.values(), cards)
    for path, limit in limits.items():
        yield Change(path=path, value=str(round(1e6 * min(limit, share * limit))))


def _package_limits(source: Source) -> dict[str, float]:
    """The long-term limit of each package, in watts, by its file."""
    found: dict[str, float] = {}
    for folder in source.find("/sys/class/powercap/intel-rapl:*"):
        path = f"{folder}/constraint_0_power_limit_uw"
        watts = scaled(source.read(path), 1e6)
        if watts and (source.read(f"{folder}/name") or "").startswith("package"):
            found[path] = watts
    return found


def _cards(mode: Mode, cards: Sequence[NvidiaCard], source: Source) -> Iterator[Change]:
    for card in cards:
        if card.power_limit is None or card.power_least is None:
            continue
        wanted = _of_card(mode, card, cards, source)
        if wanted is not None and wanted < card.power_limit:
            watts = max(wanted, card.power_least)
            yield Change(path=f"{NVML}{card.index}/power_limit", value=f"{watts:.0f}")


def _of_card(
    mode: Mode, card: NvidiaCard, cards: Sequence[NvidiaCard], source: Source
) -> float | None:
    limit, least = card.power_limit or 0.0, card.power_least or 0.0
    if mode.watts is not None:
        return _share(mode.watts, _package_limits(source).values(), cards) * limit
    share = CARD_SHARES.get(mode.kind)
    return None if share is None else least + share * (limit - least)


def _share(watts: float, packages: Iterable[float], cards: Sequence[NvidiaCard]) -> float:
    """What each gets of its own limit, so that all together get `watts`."""
    total = sum(packages) + sum(card.power_limit or 0.0 for card in cards)
    return watts / total if total else 1.0
