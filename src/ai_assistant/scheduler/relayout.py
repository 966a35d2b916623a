"""Lays models out anew by itself while they answer: looks, has it decided, moves.

`devices/worth_moving.py` decides; what a better plan would be, somebody proposes who knows the
machine. Nothing is moved that the owner laid out by hand, and nothing while memory is short.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from ai_assistant.devices.move_cost import MoveCost
from ai_assistant.devices.worth_moving import Past, Prospect, Verdict, worth_moving
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.errors import AssistantError
from ai_assistant.protocol.moves import MoveResult, Want
from ai_assistant.protocol.relayout import Proposal, Usage
from ai_assistant.protocol.status import EngineStatus, ModelInfo, ModelStatus, PlanStatus
from ai_assistant.protocol.worker import Worker
from ai_assistant.scheduler.easing import Loaded
from ai_assistant.scheduler.mover import Movable

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0

Propose = Callable[[ModelInfo, EnginePlan, EngineStatus, Usage], Proposal | None]
"""(model, its plan, its engine, what is asked of it) → what is better, if anything. May take a
second."""


class Models(Protocol):
    """The scheduler, as far as layouts are concerned."""

    def loaded(self) -> list[Loaded]: ...

    def state_of(self, name: str) -> ModelStatus:
        """As `status` tells it."""
        ...

    def usage(self, name: str) -> Usage | None: ...


class Moves(Protocol):
    """Who can move."""

    moving: set[str]

    async def take(self, name: str, want: Want, told: PlanStatus, why: str) -> MoveResult: ...


class Known(msgspec.Struct, kw_only=True):
    """What is remembered of a model's worker."""

    worker: Worker
    past: Past = Past()
    seen: float | None = None
    """When it was moved last, whoever did it, as its status tells it."""


class Relayout:
    """The loop."""

    def __init__(
        self,
        models: Models,
        moves: Moves,
        propose: Propose,
        *,
        calm: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`calm`: memory is no problem, and was none lately."""
        self._models = models
        self._moves = moves
        self._propose = propose
        self._calm = calm
        self._clock = clock
        self._known: dict[str, Known] = {}
        self._cost = MoveCost()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except Exception:  # one bad look must not end all looking
                log.exception("no layout was looked at this time")

    async def look(self) -> None:
        """Look at every model once, and move at most one."""
        loaded = self._models.loaded()
        states = [self._models.state_of(one.id).state for one in loaded]
        if not self._calm() or self._moves.moving or "loading" in states:
            return
        for one in loaded:
            if await self._consider(one):
                return

    async def _consider(self, one: Loaded) -> bool:
        """Whether it was moved, or should have been."""
        status, usage = self._models.state_of(one.id), self._models.usage(one.id)
        known = self._remember(one, status)
        engine, worker = status.engine, one.worker
        timed = status.plan is not None and status.plan.measuring is not None
        if not isinstance(worker, Movable) or engine is None or usage is None:
            return False
        if status.held or timed:
            known.past = msgspec.structs.replace(known.past, better_since=None)
            return False
        found = await self._proposed(status.model, worker.plan, engine, usage)
        if found is None:
            known.past = msgspec.structs.replace(known.past, better_since=None)
            return False
        prospect = self._prospect(status, engine, usage, found)
        verdict, known.past = worth_moving(prospect, known.past, self._clock())
        if not verdict.move:
            log.debug("%s stays as it is: %s", one.id, verdict.reason)
            return False
        await self._move(one.id, status.model, found, verdict, known)
        return True

    async def _proposed(
        self, model: ModelInfo, plan: EnginePlan, engine: EngineStatus, usage: Usage
    ) -> Proposal | None:
        try:
            return await asyncio.to_thread(self._propose, model, plan, engine, usage)
        except (AssistantError, OSError) as error:
            log.debug("nothing better is known for %s: %s", model.id, error)
            return None

    def _remember(self, one: Loaded, status: ModelStatus) -> Known:
        """Another worker starts anew; a move by somebody else is followed by rest, too."""
        known = self._known.get(one.id)
        if known is None or known.worker is not one.worker:
            known = self._known[one.id] = Known(worker=one.worker)
        at = status.moved.at if status.moved else None
        if at != known.seen:
            known.seen = at
            if at is not None:
                known.past = known.past.moved(self._clock())
        return known

    def _prospect(
        self, status: ModelStatus, engine: EngineStatus, usage: Usage, found: Proposal
    ) -> Prospect:
        return Prospect(
            now=found.now,
            then=found.then,
            error=found.error,
            pause=self._cost.pause(found.way, status.model.size_bytes),
            streams=engine.running + engine.waiting + engine.parked,
            turns=usage.turns,
            wanted=found.why if found.wanted else "",
        )

    async def _move(
        self, name: str, model: ModelInfo, found: Proposal, verdict: Verdict, known: Known
    ) -> None:
        why = found.why if verdict.reason == found.why else f"{found.why}; {verdict.reason}"
        try:
            result = await self._moves.take(name, found.want, found.told, why)
        except AssistantError as error:
            known.past = known.past.failed(self._clock())
            log.warning("%s keeps its layout: %s", name, error.message)
        else:
            known.past = known.past.moved(self._clock())
            self._cost = self._cost.learned(result, model.size_bytes)
            log.warning("%s was laid out anew (%s): %s", name, result.how, why)
        moved = self._models.state_of(name).moved
        known.seen = moved.at if moved else None
