"""Everything of a node that looks after memory: what is given up, what is read ahead."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

import psutil

from ai_assistant.devices.pressure import read_pressure
from ai_assistant.devices.source import ThisMachine
from ai_assistant.protocol.errors import AssistantError
from ai_assistant.scheduler.easing import Easable, Easing
from ai_assistant.scheduler.mover import Mover
from ai_assistant.scheduler.prefetch import Prefetcher
from ai_assistant.scheduler.scheduler import Scheduler
from ai_assistant.scheduler.settings import SchedulerSettings

log = logging.getLogger(__name__)

LEAST_CELLS = 2048
"""Tokens of KV cache that are not halved any more."""


@asynccontextmanager
async def watched(
    scheduler: Scheduler,
    settings: SchedulerSettings,
    command: Callable[[str], Sequence[str]],
    mover: Mover,
) -> AsyncGenerator[Easing]:
    """While the body runs, memory is watched; `command` reads a file in the background."""
    source = ThisMachine()
    shrinking = HalfContext(scheduler, mover)
    easing = Easing(scheduler, lambda: read_pressure(source), shrinking)
    tasks = [asyncio.create_task(easing.run())]
    if settings.prefetch:
        tasks.append(asyncio.create_task(Prefetcher(scheduler, _memory, command).run()))
    try:
        yield easing
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


class HalfContext:
    """The smaller layout of a model that is in use: half the KV cache. Its streams go on."""

    def __init__(self, scheduler: Scheduler, mover: Mover) -> None:
        self._scheduler = scheduler
        self._mover = mover

    async def __call__(self, name: str) -> bool:
        """False where it is small already, or what runs needs more."""
        found = [one.worker for one in self._scheduler.loaded() if one.id == name]
        if not found or not isinstance(found[0], Easable):
            return False
        plan = found[0].plan
        cells = plan.cells // 2
        if cells < LEAST_CELLS:
            return False
        changes = {"cells": cells, "context": min(plan.context_limit, cells)}
        try:
            await self._mover.change(name, changes, "instead", "memory was short")
        except AssistantError as error:
            log.warning("%s keeps its layout: %s", name, error.message)
            return False
        return True


def _memory() -> tuple[int, int]:
    """Bytes in all, and bytes that nobody uses for anything."""
    memory = psutil.virtual_memory()
    return memory.total, memory.free
