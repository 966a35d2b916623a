"""A worker's moves to other plans: one at a time, each by the way that its change asks for."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from ai_assistant.engine.changes import Depth, depth
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.errors import Overloaded, ShuttingDown, UnsupportedFeature
from ai_assistant.protocol.moves import How, MoveResult, MoveStep
from ai_assistant.workers import moving

Tell = Callable[[MoveStep], None]


class Host(moving.Host, Protocol):
    """The worker that is moved."""

    @property
    def plan(self) -> EnginePlan: ...


class OneMove:
    """The move that goes on, if any; it goes on when whoever asked for it has gone."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._task: asyncio.Task[MoveResult] | None = None

    async def make(self, plan: EnginePlan, how: How, tell: Tell) -> MoveResult:
        """Raises `AssistantError`, and then the old plan is still in use."""
        if self._task:
            raise Overloaded(f"{self._host.name} is being moved already.", retry_after=5)
        if plan.embedding or self._host.plan.embedding:
            raise UnsupportedFeature("A model that gives vectors has no streams to move.")
        self._task = task = asyncio.create_task(self._make(plan, how, tell))
        task.add_done_callback(self._made)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise ShuttingDown("The model is being unloaded.") from None
            raise

    async def cancel(self) -> None:
        """The model is being unloaded."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _made(self, _: "asyncio.Task[MoveResult]") -> None:
        self._task = None

    async def _make(self, plan: EnginePlan, how: How, tell: Tell) -> MoveResult:
        if depth(self._host.plan, plan) < Depth.WEIGHTS:
            tell(MoveStep(phase="handing over", progress=1.0))
            return await moving.in_place(self._host, plan)
        if how == "instead":
            return await moving.instead(self._host, plan, tell)
        return await moving.beside(self._host, plan, tell)
