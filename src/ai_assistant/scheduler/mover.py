"""Moves a model that is in use to another plan. Which way is decided by what is free."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, Literal, Protocol, runtime_checkable

from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.errors import AssistantError, UnsupportedFeature
from ai_assistant.protocol.moves import How, MoveResult, MoveStep, Want
from ai_assistant.protocol.status import ModelInfo, MoveStatus, PlanStatus
from ai_assistant.protocol.worker import Worker


@runtime_checkable
class Movable(Protocol):
    """A worker whose engine can be changed while it answers."""

    @property
    def plan(self) -> EnginePlan: ...

    async def move(
        self, plan: EnginePlan, how: How, tell: Callable[[MoveStep], None]
    ) -> MoveResult: ...

    def tell(self, told: PlanStatus) -> None:
        """Say this of the plan from now on."""
        ...


Decide = Callable[[ModelInfo, EnginePlan, dict[str, Any]], Want]
"""(model, its plan, what to change by name) → what is to be. May take a second."""
By = Literal["owner", "node"]
BY_HAND = "asked for"


class Loaded(Protocol):
    """The models in memory."""

    def lend(self, name: str) -> contextlib.AbstractAsyncContextManager[tuple[ModelInfo, Worker]]:
        """One that is in memory, and stays there for as long as it is lent."""
        ...

    def resized(self, name: str, need: int) -> None:
        """It takes so many bytes now."""
        ...

    def note_move(self, name: str, moved: MoveStatus) -> None:
        """It was moved, or should have been; what the owner chose stays so."""
        ...

    def release(self, name: str) -> None:
        """It does not have to stay so any longer."""
        ...


class Mover:
    """One move at a time for each model."""

    def __init__(self, loaded: Loaded, decide: Decide) -> None:
        self._loaded = loaded
        self._decide = decide
        self.moving: set[str] = set()
        """Models that are being moved."""

    async def move(
        self, name: str, changes: dict[str, Any], how: How = "auto"
    ) -> AsyncGenerator[MoveStep | MoveResult, None]:
        """By hand: the layout stays so until it is released or unloaded. Steps as they come and
        the result as the last; raises `AssistantError`, and then the model goes on by its old
        plan. Closing the iterator does not stop what has begun."""
        async with contextlib.aclosing(
            self._changed(name, changes, how, "owner", BY_HAND)
        ) as steps:
            async for step in steps:
                yield step

    async def change(self, name: str, changes: dict[str, Any], how: How, why: str) -> MoveResult:
        """The same for the node's own reasons."""
        return await _last(self._changed(name, changes, how, "node", why))

    async def take(self, name: str, want: Want, told: PlanStatus, why: str) -> MoveResult:
        """Go on by a plan that was made already. Raises `AssistantError`."""
        async with self._loaded.lend(name) as (model, worker):
            movable = _movable(model, worker)
            result = await _last(self._steps(model.id, movable, want, "auto", "node", why))
            movable.tell(told)
        return result

    def release(self, name: str) -> None:
        """What was chosen by hand may be changed by the node again. Raises `ModelNotFound`."""
        self._loaded.release(name)

    async def _changed(
        self, name: str, changes: dict[str, Any], how: How, by: By, why: str
    ) -> AsyncGenerator[MoveStep | MoveResult, None]:
        async with self._loaded.lend(name) as (model, worker):
            movable = _movable(model, worker)
            want = await asyncio.to_thread(self._decide, model, movable.plan, changes)
            async with contextlib.aclosing(
                self._steps(model.id, movable, want, how, by, why)
            ) as steps:
                async for step in steps:
                    yield step

    async def _steps(
        self, name: str, worker: Movable, want: Want, how: How, by: By, why: str
    ) -> AsyncGenerator[MoveStep | MoveResult, None]:
        steps: asyncio.Queue[MoveStep] = asyncio.Queue()
        chosen = way(how, room=want.room)
        moving = asyncio.create_task(worker.move(want.plan, chosen, steps.put_nowait))
        self.moving.add(name)
        try:
            while not moving.done():
                step = asyncio.create_task(steps.get())
                await asyncio.wait({moving, step}, return_when=asyncio.FIRST_COMPLETED)
                if step.done():
                    yield step.result()
                step.cancel()
            result = moving.result()
        except AssistantError as error:
            self._note(name, by, why, error=error.message)
            raise
        finally:
            self.moving.discard(name)
            moving.cancel()
        self._loaded.resized(name, want.need)
        self._note(name, by, why, result)
        yield result

    def _note(
        self, name: str, by: By, why: str, result: MoveResult | None = None, error: str = ""
    ) -> None:
        moved = MoveStatus(
            at=time.time(),
            by=by,
            why=why,
            how=result.how if result else "",
            paused_seconds=result.paused_seconds if result else 0.0,
            error=error or None,
        )
        self._loaded.note_move(name, moved)


async def _last(steps: AsyncGenerator[MoveStep | MoveResult, None]) -> MoveResult:
    result: MoveResult | None = None
    async with contextlib.aclosing(steps):
        async for step in steps:
            result = step if isinstance(step, MoveResult) else result
    assert result
    return result


def _movable(model: ModelInfo, worker: Worker) -> Movable:
    if not isinstance(worker, Movable):
        raise UnsupportedFeature(f"{model.id} does not run on this machine.")
    return worker


def way(wanted: How, *, room: bool) -> How:
    """Beside is safer and its pause shorter, but for a while it takes the memory of both."""
    if wanted != "auto":
        return wanted
    return "beside" if room else "instead"
