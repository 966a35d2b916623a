"""Builds every room for this machine and connects them; starts and stops processes."""

import asyncio
import contextlib
import functools
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path

import msgspec

from ai_assistant.config import places
from ai_assistant.config.settings import Settings
from ai_assistant.config.sources import variables
from ai_assistant.console.routes import console_routes
from ai_assistant.devices import stored
from ai_assistant.devices.child import ask_kernels
from ai_assistant.devices.keep import Place, plan_keeping
from ai_assistant.devices.profile import Profile
from ai_assistant.devices.source import ThisMachine
from ai_assistant.gateway.access.access import Access
from ai_assistant.gateway.app import build_app
from ai_assistant.gateway.desk import Desk
from ai_assistant.gateway.moves import move_routes
from ai_assistant.gateway.power import power_routes
from ai_assistant.gateway.server import new_loop, serve
from ai_assistant.jobs.jobs import Jobs
from ai_assistant.jobs.network import HostNetwork
from ai_assistant.kvcache.cold import shelf
from ai_assistant.protocol.errors import AssistantError, EngineError
from ai_assistant.protocol.frames import Pin
from ai_assistant.protocol.purse import Purse
from ai_assistant.protocol.status import ModelInfo
from ai_assistant.protocol.worker import Worker
from ai_assistant.scheduler.memory import watched
from ai_assistant.scheduler.mover import Mover
from ai_assistant.scheduler.router import Router
from ai_assistant.scheduler.scheduler import Scheduler
from ai_assistant.store.conversations import Conversations
from ai_assistant.store.models import known_models as read_known_models
from ai_assistant.store.pins import read_pins
from ai_assistant.workers.deciding import decide_move
from ai_assistant.workers.idle import Idle
from ai_assistant.workers.local import LocalWorker
from ai_assistant.workers.planning import Planner
from ai_assistant.workers.power import NodePower, keeper_here

log = logging.getLogger(__name__)

VERSION = "0.1.0"
START_SECONDS = 60.0
"""How long a temporary node may take to listen."""


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
    settings: Settings,
    announce: Callable[[str], None],
    resume: bool,
    file: Path | None,
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
    data = places.data_dir(settings)
    power = NodePower(functools.partial(keeper_here, settings.power, data))
    scheduler = _build_scheduler(settings, planner, idle, power)
    scheduler.power = power.status
    looking = asyncio.create_task(idle.run())
    try:
        network = HostNetwork()
        async with (
            power.kept(scheduler.status),
            watched(scheduler, settings.scheduler, _background, Mover(scheduler, decide_move)),
            _with_others(scheduler, settings, file, access.purse, network) as router,
        ):
            return await _serve_all(
                scheduler, router, settings, announce, resume, access, network, power
            )
    finally:
        looking.cancel()
        await asyncio.wait([looking])


def _background(path: str) -> tuple[str, ...]:
    """A process that reads a file into free memory at idle priority."""
    return sys.executable, "-m", "ai_assistant.engine.readahead", path


@contextlib.asynccontextmanager
async def _with_others(
    scheduler: Scheduler,
    settings: Settings,
    file: Path | None,
    purse: Purse,
    network: HostNetwork,
) -> AsyncGenerator[Router]:
    """The models here, and those of the providers where there are any."""
    wanted = (places.providers_file, places.policy_file)
    if not (file and any(path(file).exists() for path in wanted)):
        yield _warned(Router(scheduler, settings=settings.routing))
        return
    # Detectors, HTTP clients and prices: nobody waits for them who has no providers.
    from ai_assistant.policy.egress.log import EgressLog
    from ai_assistant.policy.gate import Gate
    from ai_assistant.policy.memory import Memory
    from ai_assistant.policy.memory_file import MemoryFile
    from ai_assistant.policy.rules_file import RulesFile
    from ai_assistant.workers.providers.fleet import Fleet
    from ai_assistant.workers.providers.providers_file import read_providers
    from ai_assistant.workers.providers.records_file import RecordsFile
    from ai_assistant.workers.providers.upkeep import kept_up

    egress = EgressLog(places.egress_dir(settings) / "node")
    memory = Memory(MemoryFile(places.data_dir(settings) / "conversation-labels.jsonl"))
    gate = Gate(RulesFile(places.policy_file(file)), egress, memory, heard=network.hear)
    fleet = Fleet(
        read_providers(places.providers_file(file)),
        environ=variables(),
        folder=file.parent,
        gate=gate,
        records=RecordsFile(places.providers_seen_file(settings)),
    )
    for name, problem in fleet.problems.items():
        log.warning("The provider %s is left out: %s", name, problem)
    network.know(worker.offer.address for worker in fleet.workers)
    try:
        routing = settings.routing
        router = Router(
            scheduler, fleet.workers, gate, routing, online=network.has_route, purse=purse
        )
        async with kept_up(fleet, gate):
            yield _warned(router)
    finally:
        await fleet.close(drain=False)
        egress.close()
        memory.close()


def _warned(router: Router) -> Router:
    """Say which of the owner's routes name models that nobody has."""
    for name, models in router.unknown_names().items():
        log.warning("routes.%s: nobody has %s; see `ai-assistant models`.", name, ", ".join(models))
    return router


async def _serve_all(
    scheduler: Scheduler,
    service: Router,
    settings: Settings,
    announce: Callable[[str], None],
    resume: bool,
    access: Access,
    network: HostNetwork,
    power: NodePower,
) -> int:
    folder = places.data_dir(settings)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    conversations = Conversations(folder)
    desk = Desk(service, settings.server, crowded_at=lambda: scheduler.crowded_at, access=access)
    jobs = Jobs(folder / "jobs", settings.jobs, desk, network=network, rules=service.outlook)
    moves = move_routes(Mover(scheduler, decide_move), settings.server)
    power_mode = power_routes(power.look, power.change, settings.server)
    mounts = [*console_routes(conversations, _look(settings)), *moves, *power_mode]
    app = build_app(service, settings.server, mounts=mounts, jobs=jobs, access=access)
    stop, now = asyncio.Event(), asyncio.Event()
    _on_signals(stop, now)
    await scheduler.start()
    if resume:
        await jobs.resume()
    putting_down = asyncio.create_task(_put_down(jobs, stop))
    has_keys = access.ring.demanded
    serving = asyncio.create_task(
        serve(app, settings.server, on_ready=announce, stop=stop, has_keys=has_keys)
    )
    hurry = asyncio.create_task(now.wait())
    await asyncio.wait([serving, hurry], return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    await _stop_scheduler(scheduler, hurry)
    await putting_down
    hurry.cancel()
    if not serving.done():
        serving.cancel()
        await asyncio.wait([serving])
        return 130
    serving.result()
    return 0


async def _put_down(jobs: Jobs, stop: asyncio.Event) -> None:
    """Lines of batches are not waited for: they are done again."""
    await stop.wait()
    await jobs.stop()


async def _stop_scheduler(scheduler: Scheduler, hurry: asyncio.Task[bool]) -> None:
    """Let engines finish what they have, until somebody is in a hurry."""
    stopping = asyncio.create_task(scheduler.stop(drain=not hurry.done()))
    await asyncio.wait([stopping, hurry], return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        await scheduler.stop(drain=False)
    await stopping


def _on_signals(stop: asyncio.Event, now: asyncio.Event) -> None:
    def heard() -> None:
        (now if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, heard)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda _number, _frame: _wake(loop, heard))


def _wake(loop: asyncio.AbstractEventLoop, heard: Callable[[], None]) -> None:
    loop.call_soon_threadsafe(heard)


def _build_scheduler(
    settings: Settings, planner: Planner, idle: Idle, power: NodePower
) -> Scheduler:
    def make_worker(model: ModelInfo) -> tuple[Worker, int]:
        planned = planner.plan(model)
        place = _cache_place(settings)
        worker = LocalWorker(
            model,
            plan_keeping(planned.plan, settings.cache, place, _pins(settings)),
            max_restarts=settings.scheduler.max_restarts,
            told=planned.told,
            smaller=planned.smaller,
            learn=functools.partial(planner.learn, model),
        )
        idle.watch(model, worker)
        power.add(worker)
        return worker, planned.need

    return Scheduler(
        known_models(settings),
        make_worker,
        settings.scheduler,
        version=VERSION,
        load_wait_seconds=settings.server.load_wait_seconds,
    )


def _look(settings: Settings) -> Callable[[], Profile]:
    """Reads the machine as it is now; the kernels are asked for their devices only once."""
    source = ThisMachine(functools.cache(ask_kernels))
    folders, data = places.disk_folders(settings), places.data_dir(settings)
    return lambda: stored.current(source, folders, data)


def _cache_place(settings: Settings) -> Place:
    folder = places.cache_dir(settings)
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        free = shutil.disk_usage(folder).free
        return Place(str(folder), used=shelf.status(folder).bytes, free=free)
    return Place(str(folder), used=0, free=0)


def _pins(settings: Settings) -> tuple[Pin, ...]:
    """A file that cannot be read must not keep a model from its users."""
    try:
        return read_pins(places.cache_dir(settings))
    except AssistantError as error:
        log.warning("The pinned prompts are not used: %s", error)
        return ()


def known_models(settings: Settings) -> tuple[ModelInfo, ...]:
    """The models that a node with these settings serves, the default first."""
    return read_known_models(settings.store.models)


@contextlib.contextmanager
def temporary(settings: Settings) -> Generator[str]:
    """A node as a child process on a free port of this machine, for the life of the context.

    Yields its address. Raises `EngineError` with its last words if it does not come up.
    """
    with tempfile.TemporaryDirectory(prefix="ai-assistant-") as folder:
        address, log = Path(folder, "address"), Path(folder, "log")
        server = msgspec.structs.replace(settings.server, host="127.0.0.1", port=0, api_keys=())
        Path(folder, "settings.json").write_bytes(
            msgspec.json.encode(msgspec.structs.replace(settings, server=server))
        )
        with log.open("wb") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", "ai_assistant.node", folder],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            yield _await_address(child, address, log)
        finally:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(10)
            child.kill()
            child.wait()


def _await_address(child: subprocess.Popen[bytes], address: Path, log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        if address.exists():
            return address.read_text()
        time.sleep(0.02)
    words = log.read_text(errors="replace").strip().splitlines()
    raise EngineError(f"The node did not start: {words[-1] if words else 'it gave no reason'}")


def _child(folder: Path) -> int:
    """The temporary node's own process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    settings = msgspec.json.decode((folder / "settings.json").read_bytes(), type=Settings)

    def announce(url: str) -> None:
        part = folder / "address.part"
        part.write_text(url)
        part.rename(folder / "address")

    try:
        return run(settings, announce=announce, resume=False)
    except AssistantError as error:
        sys.stderr.write(error.message + "\n")
        return 1


def _end_with_parent() -> None:
    """The pipe from the parent closes when it dies, however it dies."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(_child(Path(sys.argv[1])))
