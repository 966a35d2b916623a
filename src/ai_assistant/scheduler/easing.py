"""Watches memory and acts on it: `relief.py` decides what is given up, this does it."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import msgspec

from ai_assistant.devices.pressure import Level, PressureFacts, judge
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.worker import Worker
from ai_assistant.scheduler.relief import (
    BETWEEN_SECONDS,
    QUIET_SECONDS,
    Ease,
    Held,
    Shrink,
    Step,
    Unload,
    relieve,
    restore,
)

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


@runtime_checkable
class Easable(Protocol):
    """A worker whose engine can do with less."""

    @property
    def plan(self) -> EnginePlan: ...

    def ease(self, warm_bytes: int, slots: int) -> None:
        """So much for the tier in RAM, and so many slots; 0 slots: as planned."""
        ...


class Loaded(msgspec.Struct, frozen=True):
    """A model in memory, as the scheduler knows it."""

    id: str
    worker: Worker
    in_use: int
    last_used: float
    default: bool


class Models(Protocol):
    """The scheduler, as far as memory is concerned."""

    def loaded(self) -> list[Loaded]: ...

    async def unload(self, name: str) -> bool:
        """Unless it is in use by now."""
        ...


class Eased(msgspec.Struct):
    """What an engine was told last. Another engine, or one that was started again, knows nothing
    of it."""

    worker: Worker
    restarts: int
    warm: int
    slots: int


class Easing:
    """The loop. `shrink` lays a model out anew, smaller, and says whether it did."""

    def __init__(
        self,
        models: Models,
        look: Callable[[], PressureFacts],
        shrink: "Shrinking | None" = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models = models
        self._look = look
        self._shrink = shrink
        self._clock = clock
        self._eased: dict[str, Eased] = {}
        self._before = PressureFacts()
        self._acted_at = self._short_at = float("-inf")
        self.level: Level = "calm"

    @property
    def at_rest(self) -> bool:
        """Memory is no problem, and nothing was given up or back lately."""
        return self.level == "calm" and self._clock() - self._acted_at >= QUIET_SECONDS

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            facts = await asyncio.to_thread(self._look)
            await self.act(facts)

    async def act(self, facts: PressureFacts) -> Step | None:
        """Judge what was seen and do one thing about it."""
        was, self.level = self.level, judge(facts, self._before, self.level)
        self._before = facts
        now = self._clock()
        if self.level != "calm":
            self._short_at = now
        if was != self.level:
            log.warning("memory is %s: %s", self.level, told(facts))
        step = self._next(facts, now)
        if step:
            self._acted_at = now
            await self._do(step)
        return step

    def _next(self, facts: PressureFacts, now: float) -> Step | None:
        if self.level != "critical" and now - self._acted_at < BETWEEN_SECONDS:
            return None
        held = [self._held(one) for one in self._models.loaded()]
        if self.level != "calm":
            return relieve(self.level, [one for one in held if one])
        if self._eased and now - self._short_at >= QUIET_SECONDS:
            return restore([one for one in held if one], facts.free or 0, facts.total or 0)
        return None

    def _held(self, one: Loaded) -> Held | None:
        status = one.worker.status()
        if status.engine is None or not isinstance(one.worker, Easable):
            return None
        plan = one.worker.plan
        known = self._eased.get(one.id)
        if known and (known.worker is not one.worker or known.restarts != status.restarts):
            del self._eased[one.id]
            known = None
        return Held(
            id=one.id,
            in_use=one.in_use,
            last_used=one.last_used,
            running=status.engine.running,
            warm=0 if plan.embedding else known.warm if known else plan.warm_bytes,
            warm_planned=0 if plan.embedding else plan.warm_bytes,
            slots=1 if plan.embedding else known.slots if known else plan.slots,
            slots_planned=1 if plan.embedding else plan.slots,
            draft=status.engine.draft_bytes,
            default=one.default,
            smaller=self._shrink is not None and not plan.embedding,
        )

    async def _do(self, step: Step) -> None:
        match step:
            case Ease(name, warm, slots):
                self._ease(name, warm, slots)
            case Unload(name):
                log.warning("%s is unloaded: memory is short", name)
                await self._models.unload(name)
            case Shrink(name):
                if self._shrink:
                    await self._shrink(name)

    def _ease(self, name: str, warm: int, slots: int) -> None:
        for one in self._models.loaded():
            if one.id == name and isinstance(one.worker, Easable):
                one.worker.ease(warm, slots)
                restarts = one.worker.status().restarts
                self._eased[name] = Eased(one.worker, restarts, warm, slots)


class Shrinking(Protocol):
    """Lays a model that is in use out anew, smaller; False where that cannot be."""

    async def __call__(self, name: str) -> bool: ...


def told(facts: PressureFacts) -> str:
    """What was seen, in words."""
    parts: list[str] = []
    if facts.free is not None and facts.total:
        parts.append(f"{facts.free / 1e9:.1f} of {facts.total / 1e9:.1f} GB are free")
    if facts.some is not None:
        parts.append(f"programs waited for it {facts.some:.0f} % of the last ten seconds")
    if facts.apple is not None:
        parts.append(f"macOS says level {facts.apple}")
    return ", ".join(parts) or "the system tells nothing"
