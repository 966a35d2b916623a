"""A node's power: hands what its keeper says to every engine of this machine."""

import asyncio
import logging
import weakref
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from ai_assistant.devices import stored
from ai_assistant.devices.apply_journal import power_journal
from ai_assistant.devices.apply_port import WritableMachine
from ai_assistant.devices.facts import read_cpu
from ai_assistant.devices.power.keeper import Keeper
from ai_assistant.devices.power.run import change_mode, watch
from ai_assistant.devices.power.settings import PowerSettings
from ai_assistant.protocol.errors import ShuttingDown, Unavailable
from ai_assistant.protocol.power import PowerStatus, Restraint
from ai_assistant.protocol.status import NodeStatus
from ai_assistant.workers.local import LocalWorker

log = logging.getLogger(__name__)


def keeper_here(settings: PowerSettings, data: Path) -> Keeper:
    """The keeper of this machine; what was measured of it is in `data`."""
    profile = stored.load(data)
    best = profile.memory.best_read if profile else None
    return Keeper(
        WritableMachine(),
        power_journal(data),
        settings,
        cores=read_cpu().compute_cores,
        saturating=best.threads if best else 0,
    )


class NodePower:
    """Engines come and go; each hears what holds now."""

    def __init__(self, make: Callable[[], Keeper]) -> None:
        """`make` looks for sensors and drivers, in a thread: nobody waits for it."""
        self._make = make
        self._keeper: Keeper | None = None
        self._made: asyncio.Future[Keeper] = asyncio.get_running_loop().create_future()
        self._restraint = Restraint()
        self._workers: weakref.WeakSet[LocalWorker] = weakref.WeakSet()

    def add(self, worker: LocalWorker) -> None:
        """A worker that was made."""
        self._workers.add(worker)
        worker.limit(self._restraint)

    def status(self) -> PowerStatus | None:
        """Power and heat as they are now; None before the machine has been looked at."""
        made = self._made.done() and not self._made.exception()
        return self._made.result().status() if made else None

    async def look(self) -> PowerStatus:
        """The same, after that; raises `Unavailable` where it cannot be looked at."""
        return (await asyncio.shield(self._made)).status()

    async def change(self, mode: str) -> None:
        """Use another mode from now on. Raises `InvalidRequest`, and `Unavailable` as above."""
        await change_mode(await asyncio.shield(self._made), mode, self._tell)

    @asynccontextmanager
    async def kept(self, status: Callable[[], NodeStatus]) -> AsyncGenerator[None]:
        """For the life of the context; at its end the system is as it was before."""
        keeping = asyncio.create_task(self._keep(status))
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])
            self._settle(ShuttingDown("The node is shutting down; ask again when it is back."))
            if self._keeper:
                await asyncio.to_thread(self._keeper.close)

    async def _keep(self, status: Callable[[], NodeStatus]) -> None:
        try:
            await self._watch(status)
        except Exception as error:
            log.exception("the power of this machine is not kept")
            self._settle(Unavailable(f"The power of this machine cannot be kept: {error}"))

    async def _watch(self, status: Callable[[], NodeStatus]) -> None:
        # From its start on there may be something to put back: it must be known before.
        self._keeper = keeper = await asyncio.to_thread(self._make)
        await asyncio.to_thread(keeper.start)
        self._made.set_result(keeper)
        self._tell(keeper.restraint)
        await watch(keeper, lambda: _written(status()), self._tell)

    def _settle(self, error: Unavailable) -> None:
        """Whoever waits for the keeper, or will ask for it, is told that there is none."""
        if not self._made.done():
            self._made.set_exception(error)
            self._made.exception()  # Nobody has to ask.

    def _tell(self, restraint: Restraint) -> None:
        self._restraint = restraint
        for worker in self._workers:
            worker.limit(restraint)


def _written(status: NodeStatus) -> int:
    """Tokens of all engines that live; one that starts again begins at 0."""
    return sum(one.engine.generated_tokens for one in status.models if one.engine)
