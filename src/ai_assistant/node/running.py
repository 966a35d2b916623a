"""A node from its start to its end: every room is built, connected, and served until a signal."""

import asyncio
import contextlib
import functools
import logging
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from pathlib import Path

from ai_assistant.config import places
from ai_assistant.config.settings import Settings
from ai_assistant.devices import stored
from ai_assistant.gateway.access.access import Access
from ai_assistant.gateway.server import new_loop
from ai_assistant.jobs.network import HostNetwork
from ai_assistant.node.elsewhere import with_others
from ai_assistant.node.endpoint import Endpoint
from ai_assistant.node.models_here import build_scheduler
from ai_assistant.scheduler.easing import Easing
from ai_assistant.scheduler.memory import watched
from ai_assistant.scheduler.mover import Mover
from ai_assistant.scheduler.relayout import Relayout
from ai_assistant.scheduler.scheduler import Scheduler
from ai_assistant.workers.deciding import decide_move
from ai_assistant.workers.idle import Idle
from ai_assistant.workers.planning import Planner
from ai_assistant.workers.power import NodePower, keeper_here
from ai_assistant.workers.proposing import Proposer


def run(
    settings: Settings,
    *,
    announce: Callable[[str], None],
    resume: bool = True,
    file: Path | None = None,
) -> int:
    """Serve until a signal; `announce` gets the address. Returns the process's exit code.

    The first signal drains: running answers end, nothing new begins. The second one ends now.
    `resume`: go on with the batches that are not finished. `file`: where the settings are; the
    providers and the rules for what may leave lie beside it, without it there are none.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(_serve_keyed(settings, announce, resume, file))


async def _serve_keyed(
    settings: Settings, announce: Callable[[str], None], resume: bool, file: Path | None
) -> int:
    access = Access(
        settings.server.api_keys,
        keys=places.keys_file(file) if file else None,
        usage=places.key_usage_file(settings) if file else None,
    )
    async with access.kept():
        return await _serve(settings, announce, resume, file, access)


async def _serve(
    settings: Settings,
    announce: Callable[[str], None],
    resume: bool,
    file: Path | None,
    access: Access,
) -> int:
    planner = Planner(settings.engine, places.layouts_dir(settings))
    idle = Idle(planner, measure=settings.engine.measure)
    power = NodePower(functools.partial(keeper_here, settings.power, places.data_dir(settings)))
    scheduler = build_scheduler(settings, planner, idle, power)
    scheduler.power = power.status
    mover = Mover(scheduler, decide_move)
    network = HostNetwork()
    async with (
        _beside(idle.run()),
        power.kept(scheduler.status),
        watched(scheduler, settings.scheduler, _background, mover) as easing,
        _laid_out_anew(settings, scheduler, mover, planner, easing),
        with_others(scheduler, settings, file, access.purse, network) as router,
    ):
        endpoint = Endpoint(
            scheduler, router, settings, mover=mover, access=access, network=network, power=power
        )
        return await endpoint.serve(announce, resume=resume)


def _laid_out_anew(
    settings: Settings, scheduler: Scheduler, mover: Mover, planner: Planner, easing: Easing
) -> contextlib.AbstractAsyncContextManager[None]:
    """Models follow what changes on the machine, unless the owner does not want that."""
    if settings.engine.relayout == "off":
        return contextlib.nullcontext()
    measured = functools.partial(stored.load, places.data_dir(settings))
    proposer = Proposer(planner, settings.engine, profile=measured)
    return _beside(Relayout(scheduler, mover, proposer, calm=lambda: easing.at_rest).run())


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[None, None, None]) -> AsyncGenerator[None]:
    """Something runs while the body does."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def _background(path: str) -> tuple[str, ...]:
    """A process that reads a file into free memory at idle priority."""
    return sys.executable, "-m", "ai_assistant.engine.readahead", path
