"""The HTTP endpoint of a node: the app with all that is mounted on it, from start to stop."""

import asyncio
import functools
from collections.abc import Callable

from starlette.types import ASGIApp

from ai_assistant.config import places
from ai_assistant.config.settings import Settings
from ai_assistant.console.routes import console_routes
from ai_assistant.devices import stored
from ai_assistant.devices.child import ask_kernels
from ai_assistant.devices.profile import Profile
from ai_assistant.devices.source import ThisMachine
from ai_assistant.gateway.access.access import Access
from ai_assistant.gateway.app import build_app
from ai_assistant.gateway.desk import Desk
from ai_assistant.gateway.handing_over import hand_over_routes
from ai_assistant.gateway.kv_blocks import kv_block_routes
from ai_assistant.gateway.moves import move_routes
from ai_assistant.gateway.power import power_routes
from ai_assistant.gateway.server import serve
from ai_assistant.jobs.jobs import Jobs
from ai_assistant.jobs.network import HostNetwork
from ai_assistant.node.signals import Signals
from ai_assistant.scheduler.blocks.here import BlocksHere
from ai_assistant.scheduler.leaving import HandOver, hand_all_on
from ai_assistant.scheduler.mover import Mover
from ai_assistant.scheduler.router import Router
from ai_assistant.scheduler.scheduler import Scheduler
from ai_assistant.store.conversations import Conversations
from ai_assistant.workers.power import NodePower


class Endpoint:
    """Jobs, console and wire formats in front of a node's models."""

    def __init__(
        self,
        scheduler: Scheduler,
        router: Router,
        settings: Settings,
        *,
        mover: Mover,
        access: Access,
        network: HostNetwork,
        power: NodePower,
    ) -> None:
        """`router` stands before the scheduler and whoever answers elsewhere."""
        self._scheduler = scheduler
        self._router = router
        self._settings = settings
        self._mover = mover
        self._access = access
        self._hand_over = HandOver(scheduler, router.nodes)
        self._blocks = BlocksHere(scheduler)
        self._power = power
        self._folder = places.data_dir(settings)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        desk = Desk(router, settings.server, crowded_at=lambda: scheduler.crowded_at, access=access)
        self._jobs = Jobs(
            self._folder / "jobs", settings.jobs, desk, network=network, rules=router.outlook
        )

    async def serve(self, announce: Callable[[str], None], *, resume: bool) -> int:
        """Until a signal; the process's exit code."""
        app = self._app()
        signals = Signals()
        signals.listen()
        await self._scheduler.start()
        if resume:
            await self._jobs.resume()
        putting_down = asyncio.create_task(self._put_down_jobs(signals.stop))
        handing_on = asyncio.create_task(self._hand_on(signals.stop))
        serving = asyncio.create_task(
            serve(
                app,
                self._settings.server,
                on_ready=announce,
                stop=signals.stop,
                has_keys=self._access.ring.demanded,
                awaited=lambda: self._blocks.awaited,
            )
        )
        hurry = asyncio.create_task(signals.hurry.wait())
        await asyncio.wait([serving, hurry], return_when=asyncio.FIRST_COMPLETED)
        signals.stop.set()
        await self._stop_models(hurry)
        await asyncio.gather(putting_down, handing_on)
        hurry.cancel()
        if not serving.done():
            serving.cancel()
            await asyncio.wait([serving])
            return 130
        serving.result()
        return 0

    def _app(self) -> ASGIApp:
        settings, power = self._settings, self._power
        mounts = [
            *console_routes(Conversations(self._folder), _look(settings)),
            *move_routes(self._mover, settings.server),
            *hand_over_routes(self._hand_over.hand_over, settings.server),
            *kv_block_routes(self._blocks if settings.cache.hand_over else None, settings.server),
            *power_routes(power.look, power.change, settings.server),
        ]
        return build_app(
            self._router, settings.server, mounts=mounts, jobs=self._jobs, access=self._access
        )

    async def _put_down_jobs(self, stop: asyncio.Event) -> None:
        """Lines of batches are not waited for: they are done again."""
        await stop.wait()
        await self._jobs.stop()

    async def _hand_on(self, stop: asyncio.Event) -> None:
        """Another node goes on with the answers, where one can; clients hear them through here."""
        await stop.wait()
        hand_all_on(one.worker for one in self._scheduler.loaded())

    async def _stop_models(self, hurry: asyncio.Task[bool]) -> None:
        """Let engines finish what they have, until somebody is in a hurry."""
        stopping = asyncio.create_task(self._scheduler.stop(drain=not hurry.done()))
        await asyncio.wait([stopping, hurry], return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            await self._scheduler.stop(drain=False)
        await stopping


def _look(settings: Settings) -> Callable[[], Profile]:
    """Reads the machine as it is now; the kernels are asked for their devices only once."""
    source = ThisMachine(functools.cache(ask_kernels))
    folders, data = places.disk_folders(settings), places.data_dir(settings)
    return lambda: stored.current(source, folders, data)
