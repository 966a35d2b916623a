"""Energy by the machine's own sensors. Where there is none, there is no figure."""

import collections
from collections.abc import Iterable, Sequence

import msgspec

from ai_assistant.devices.probe.text import scaled
from ai_assistant.devices.profile import Power, Sensor
from ai_assistant.devices.source import Source

LONGEST = 5.0
"""Seconds between two readings of power over which their mean counts as energy."""
WINDOW = 120.0
"""Seconds of work that joules per token look back."""
LEAST_TOKENS = 50
"""Fewer say little: counters are read once a second."""
_PARTS = ("package", "dram")
"""RAPL's domains that add up: the others are within the package, or everything once more."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """Energy since the meter was made, and the power of the latest interval."""

    joules: float
    watts: float | None = None


def usable(power: Power) -> tuple[Sensor, ...]:
    """Sensors that may be read and of which no two tell the same energy.

    A counter of energy where there is one; a card that only tells its power is integrated.
    """
    readable = [one for one in power.sensors if one.value is not None]
    counters = [one for one in readable if one.reading == "energy" and _adds_up(one)]
    counted = {one.path for one in counters}
    powers = [
        one
        for one in readable
        if one.reading == "power" and one.path not in counted and _is_card(one)
    ]
    return (*counters, *powers)


def _adds_up(sensor: Sensor) -> bool:
    if sensor.source != "rapl":
        return True
    # The same package is told twice on some: through registers and through memory.
    return sensor.name.startswith(_PARTS) and "-mmio" not in sensor.path


def _is_card(sensor: Sensor) -> bool:
    """A discrete card. An `amdgpu` within a package is in the package's counter already, but no
    sensor says which it is: only NVIDIA's are taken."""
    return sensor.source == "nvml"


class Meter:
    """Adds up counters that wrap, and power over time."""

    def __init__(self, source: Source, sensors: Sequence[Sensor]) -> None:
        self._source = source
        self._sensors = tuple(sensors)
        self._last: dict[str, float] = {}
        self._at: float | None = None
        self._joules = 0.0
        self._of_cards = any(one.source == "nvml" for one in sensors)

    @property
    def names(self) -> tuple[str, ...]:
        """What is measured."""
        return tuple(f"{one.source} {one.name}" for one in self._sensors)

    def read(self, now: float) -> Reading | None:
        """At `now`, by any steady clock; None where there is no sensor."""
        if not self._sensors:
            return None
        seconds = 0.0 if self._at is None else now - self._at
        gained = sum(self._gained(one, value, seconds) for one, value in self._values())
        self._joules += gained
        first, self._at = self._at is None, now
        return Reading(
            joules=self._joules, watts=None if first or seconds <= 0 else gained / seconds
        )

    def _values(self) -> Iterable[tuple[Sensor, float]]:
        cards = {card.index: card for card in self._source.cards()} if self._of_cards else {}
        for one in self._sensors:
            if one.source == "nvml":
                card = cards.get(int(one.path.partition(":")[2]))
                value = card and (card.energy if one.reading == "energy" else card.power)
            else:
                value = scaled(self._source.read(one.path), 1e6)
            if value is not None:
                yield one, value

    def _gained(self, sensor: Sensor, value: float, seconds: float) -> float:
        """Joules since the last reading. A counter that went back without a known end was reset."""
        before, self._last[sensor.path] = self._last.get(sensor.path), value
        if before is None:
            return 0.0
        if sensor.reading == "power":
            return (before + value) / 2 * min(seconds, LONGEST)
        if value >= before:
            return value - before
        return sensor.wraps_at - before + value if sensor.wraps_at else 0.0


class PerToken:
    """Joules per written token, over the latest time in which any were written."""

    def __init__(self) -> None:
        self._entries: collections.deque[tuple[float, float, int]] = collections.deque()

    def add(self, seconds: float, joules: float, tokens: int) -> None:
        """An interval. Those without tokens are no work and do not count."""
        if tokens <= 0 or joules <= 0 or seconds <= 0:
            return
        self._entries.append((seconds, joules, tokens))
        while sum(entry[0] for entry in self._entries) - self._entries[0][0] > WINDOW:
            self._entries.popleft()

    @property
    def value(self) -> float | None:
        """None before enough was written."""
        tokens = sum(entry[2] for entry in self._entries)
        joules = sum(entry[1] for entry in self._entries)
        return joules / tokens if tokens >= LEAST_TOKENS else None
