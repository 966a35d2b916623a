"""Moves a model that is in use to another plan, by hand. Which way is decided by what is free."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any, Protocol, runtime_checkable

from ai_assistant.protocol.errors import UnsupportedFeature
from ai_assistant.protocol.frames import EnginePlan
from ai_assistant.protocol.moves import How, MoveResult, MoveStep, Want
from ai_assistant.protocol.status import ModelInfo
from ai_assistant.protocol.worker import Worker


@runtime_checkable
class Movable(Protocol):
    """A worker whose engine can be changed while it answers."""

    @property
    def plan(self) -> EnginePlan: ...

    async def move(
        self, plan: EnginePlan, how: How, tell: Callable[[MoveStep], None]
    ) -> MoveResult: ...


Decide = Callable[[ModelInfo, EnginePlan, dict[str, Any]], Want]
"""(model, its plan, what to change by name) → what is to be. May take a second."""


class Loaded(Protocol):
    """The models in memory."""

    def lend(self, name: str) -> contextlib.AbstractAsyncContextManager[tuple[ModelInfo, Worker]]:
        """One that is in memory, and stays there for as long as it is lent."""
        ...

    def resized(self, name: str, need: int) -> None:
        """It takes so many bytes now."""
        ...


class Mover:
    """One move at a time for each model."""

    def __init__(self, loaded: Loaded, decide: Decide) -> None:
        self._loaded = loaded
        self._decide = decide

    async def move(
        self, name: str, changes: dict[str, Any], how: How = "auto"
    ) -> AsyncGenerator[MoveStep | MoveResult, None]:
        """Steps as they come and the result as the last; raises `AssistantError`, and then the
        model goes on by its old plan. Closing the iterator does not stop what has begun."""
        async with self._loaded.lend(name) as (model, worker):
            if not isinstance(worker, Movable):
                raise UnsupportedFeature(f"{model.id} does not run on this machine.")
            want = await asyncio.to_thread(self._decide, model, worker.plan, changes)
            chosen: How = way(how, room=want.room)
            steps: asyncio.Queue[MoveStep] = asyncio.Queue()
            moving = asyncio.create_task(worker.move(want.plan, chosen, steps.put_nowait))
            try:
                while not moving.done():
                    step = asyncio.create_task(steps.get())
                    await asyncio.wait({moving, step}, return_when=asyncio.FIRST_COMPLETED)
                    if step.done():
                        yield step.result()
                    step.cancel()
                result = moving.result()
            finally:
                moving.cancel()
            self._loaded.resized(name, want.need)
        yield result


def way(wanted: How, *, room: bool) -> How:
    """Beside is safer and its pause shorter, but for a while it takes the memory of both."""
    if wanted != "auto":
        return wanted
    return "beside" if room else "instead"
