"""Everything of a node that looks after memory: what is given up, what is read ahead."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

import psutil

from ai_assistant.devices.pressure import read_pressure
from ai_assistant.devices.source import ThisMachine
from ai_assistant.scheduler.easing import Easing, Shrinking
from ai_assistant.scheduler.prefetch import Prefetcher
from ai_assistant.scheduler.scheduler import Scheduler
from ai_assistant.scheduler.settings import SchedulerSettings


@asynccontextmanager
async def watched(
    scheduler: Scheduler,
    settings: SchedulerSettings,
    command: Callable[[str], Sequence[str]],
    shrink: Shrinking | None = None,
) -> AsyncGenerator[Easing]:
    """While the body runs, memory is watched; `command` reads a file in the background."""
    source = ThisMachine()
    easing = Easing(scheduler, lambda: read_pressure(source), shrink)
    tasks = [asyncio.create_task(easing.run())]
    if settings.prefetch:
        tasks.append(asyncio.create_task(Prefetcher(scheduler, _memory, command).run()))
    try:
        yield easing
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _memory() -> tuple[int, int]:
    """Bytes in all, and bytes that nobody uses for anything."""
    memory = psutil.virtual_memory()
    return memory.total, memory.free
