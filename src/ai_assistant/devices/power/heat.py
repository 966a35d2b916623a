"""Which temperatures matter to those who compute, and the hottest of them."""

import re
from collections.abc import Sequence

from ai_assistant.devices.apply_port import NVML
from ai_assistant.devices.probe.text import scaled
from ai_assistant.devices.profile import Power, Sensor
from ai_assistant.devices.source import Source

_OF_CHIPS = re.compile(
    r"^(coretemp|k10temp|zenpower|cpu|soc|x86_pkg_temp|amdgpu|nouveau|i915|xe|apple|macsmc"
    r"|arm|scpi|gpu|tdie|pvt|bcm2835|rp1)",
    re.IGNORECASE,
)
"""Chips that tell of processors and graphics: not disks, batteries, networks, boards."""


def of_chips(power: Power) -> tuple[Sensor, ...]:
    """The sensors of processors and cards."""
    return tuple(
        one
        for one in power.sensors
        if one.reading == "temperature" and (one.source == "nvml" or _OF_CHIPS.match(one.name))
    )


def hottest(source: Source, sensors: Sequence[Sensor]) -> float | None:
    """In degrees, now; None if none can be read."""
    asked = any(one.source == "nvml" for one in sensors)
    cards = {f"{NVML}{card.index}": card.temperature for card in source.cards()} if asked else {}
    values = [
        cards.get(one.path) if one.source == "nvml" else scaled(source.read(one.path), 1000)
        for one in sensors
    ]
    return max((one for one in values if one is not None), default=None)
