"""How far down the ladder: quickly down when something is too high, slowly up again. Pure."""

import msgspec

HYSTERESIS = 5.0
"""Degrees below the ceiling from which work may speed up."""
SLACK = 0.85
"""Of the watts wanted: below that there is room for more."""
OVER = 1.03
"""Of the watts wanted: sensors are noisy."""
DOWN_SECONDS = 3.0
"""A step down shows in the sensors after about so long."""
UP_SECONDS = 20.0
"""How long all has to be low before a step up."""


class Readings(msgspec.Struct, frozen=True, kw_only=True):
    """What the sensors say, beside what is wanted; None: not known, or nobody set it."""

    temperature: float | None = None
    ceiling: float | None = None
    watts: float | None = None
    wanted: float | None = None
    working: bool = True

    @property
    def hot(self) -> bool:
        """Above the ceiling."""
        known = self.temperature is not None and self.ceiling is not None
        return known and self.temperature >= self.ceiling  # type: ignore[operator]

    @property
    def hungry(self) -> bool:
        """Above the watts wanted."""
        known = self.watts is not None and self.wanted is not None
        return known and self.working and self.watts > OVER * self.wanted  # type: ignore[operator]

    @property
    def low(self) -> bool:
        """Low enough to do more. An idle machine says nothing about the watts of a busy one."""
        cool = self.ceiling is None or (
            self.temperature is not None and self.temperature <= self.ceiling - HYSTERESIS
        )
        frugal = self.wanted is None or (
            self.watts is not None and self.working and self.watts <= SLACK * self.wanted
        )
        return cool and frugal


class Throttle(msgspec.Struct, frozen=True, kw_only=True):
    """Where on the ladder, since when, and since when all is low; by any steady clock."""

    level: int = 0
    changed_at: float = -1e9
    low_since: float | None = None
    by_heat: bool = False

    def follow(self, readings: Readings, now: float, last: int) -> "Throttle":
        """The state after these readings at `now`; `last` is the lowest step of the ladder."""
        if readings.hot or readings.hungry:
            if self.level >= last or now - self.changed_at < DOWN_SECONDS:
                return msgspec.structs.replace(self, low_since=None)
            return Throttle(level=self.level + 1, changed_at=now, by_heat=readings.hot)
        if not readings.low or not self.level:
            return msgspec.structs.replace(self, low_since=None)
        since = now if self.low_since is None else self.low_since
        if now - since < UP_SECONDS:
            return msgspec.structs.replace(self, low_since=since)
        return Throttle(level=self.level - 1, changed_at=now, by_heat=self.by_heat)
