"""Moves the sequences of a running model to another plan: streams pause, and go on where they were.

Three ways. In place: the engine makes itself a new KV cache on the same weights. Beside: a second
engine loads the new plan while the first one goes on answering; then it takes the sequences over.
Instead: where memory holds only one, the first one writes its sequences down and ends before the
second one loads; if that fails, the old plan is loaded again and goes on with them.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Generator
from pathlib import Path
from typing import Any, Protocol

import msgspec

from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.errors import AssistantError, EngineError, ModelLoadFailed, from_info
from ai_assistant.protocol.frames import (
    EngineReport,
    HandedOver,
    HandOver,
    Move,
    Moved,
    Progress,
    Ready,
    Resume,
    Shutdown,
    TakenOver,
    TakeOver,
)
from ai_assistant.protocol.moves import MoveResult, MoveStep
from ai_assistant.protocol.scratch import scratch_folder
from ai_assistant.workers.engine_process import EngineProcess
from ai_assistant.workers.line import Line

log = logging.getLogger(__name__)

Tell = Callable[[MoveStep], None]
PATIENCE = 120.0
"""Seconds that an engine may take to write its sequences down, or to read them."""
END_SECONDS = 20.0
"""How long an engine that is no longer wanted may take to end."""
FIRST_WORD = 30.0
"""How long the streams are watched for their first word after the move."""


class Host(Protocol):
    """The worker whose engine is changed."""

    name: str
    line: Line

    async def launch(self, plan: EnginePlan) -> EngineProcess: ...

    def hear(self, report: EngineReport) -> None: ...

    def succeed(self, process: EngineProcess, ready: Ready) -> None:
        """This is the engine from now on."""
        ...

    def adopt(self, plan: EnginePlan) -> None:
        """The engine goes by this plan from now on."""
        ...

    def fail(self, error: AssistantError) -> None:
        """No engine is left."""
        ...


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What was handed over, and how long that took."""

    load_seconds: float
    sequences: int
    restored: int
    bytes: int


async def in_place(host: Host, plan: EnginePlan) -> MoveResult:
    """A new KV cache, or new settings. Raises `AssistantError`: then the old plan goes on."""
    begun = time.monotonic()
    host.line.hold()
    try:
        moved = await _engine(host).ask(Move(plan), Moved, PATIENCE)
        if moved.error:
            raise from_info(moved.error)
        host.adopt(plan)
    finally:
        host.line.let_go()
    return MoveResult(
        model=host.name,
        how="in place",
        seconds=time.monotonic() - begun,
        paused_seconds=await _pause(host, moved.sequences),
        sequences=moved.sequences,
        restored=moved.sequences,
    )


async def beside(host: Host, plan: EnginePlan, tell: Tell) -> MoveResult:
    """Raises `AssistantError`: then the old engine goes on."""
    begun = time.monotonic()
    new = await host.launch(plan)
    try:
        ready = await _loaded(new, tell)
        loaded = time.monotonic() - begun
        tell(MoveStep(phase="handing over", progress=1.0))
        taken = await _shielded(_hand_over(host, new, ready, loaded))
    except BaseException:
        if host.line.process is not new:
            await _kill(new)
        raise
    return await _result(host, "beside", begun, taken)


async def _hand_over(host: Host, new: EngineProcess, ready: Ready, loaded: float) -> Taken:
    """From the old engine, which stands still meanwhile, to the new one."""
    old = _engine(host)
    old.heir = heir = asyncio.get_running_loop().create_future()
    host.line.hold()
    try:
        with _folder() as folder:
            path = folder / "sequences"
            handed = await _handed(old, path)
            taken = await _taken(host, new, ready, path)
        heir.set_result(new)
    except BaseException:
        await _kill(new)
        old.heir = None
        heir.set_result(None)
        old.send(Resume())
        raise
    finally:
        host.line.let_go()
    await _end(old)
    return Taken(
        load_seconds=loaded,
        sequences=taken.sequences,
        restored=taken.restored,
        bytes=handed.bytes,
    )


async def instead(host: Host, plan: EnginePlan, tell: Tell) -> MoveResult:
    """Raises `AssistantError`: then the old plan goes on, in an engine of its own."""
    begun = time.monotonic()
    old = _engine(host)
    old.heir = heir = asyncio.get_running_loop().create_future()
    host.line.hold()
    problem: AssistantError | None = None
    gone = False
    try:
        with _folder() as folder:
            path = folder / "sequences"
            handed = await _handed(old, path)
            gone = True
            await _end(old)
            loading = time.monotonic()
            try:
                new, taken = await _next(host, plan, path, tell)
            except AssistantError as error:
                log.warning("%s: the old plan is loaded again: %s", host.name, error.message)
                problem = error
                new, taken = await _next(host, old.plan, path, tell)
            loaded = time.monotonic() - loading
        heir.set_result(new)
    except BaseException as error:
        if not gone:
            # It goes on, or has died as it might have at any time.
            old.heir = None
            old.send(Resume())
        elif isinstance(error, AssistantError):
            host.fail(ModelLoadFailed(f"Neither the new plan nor the old one: {error.message}"))
        heir.set_result(None)
        raise
    finally:
        host.line.let_go()
    if problem:
        raise problem
    found = Taken(
        load_seconds=loaded,
        sequences=taken.sequences,
        restored=taken.restored,
        bytes=handed.bytes,
    )
    return await _result(host, "instead", begun, found)


async def _next(
    host: Host, plan: EnginePlan, path: Path, tell: Tell
) -> tuple[EngineProcess, TakenOver]:
    """An engine with this plan that has taken the sequences over."""
    new = await host.launch(plan)
    try:
        ready = await _loaded(new, tell)
        return new, await _taken(host, new, ready, path)
    except BaseException:
        await _kill(new)
        raise


# The steps.


def _engine(host: Host) -> EngineProcess:
    engine = host.line.process
    assert engine
    return engine


async def _loaded(new: EngineProcess, tell: Tell) -> Ready:
    def hear(report: EngineReport) -> None:
        if isinstance(report, Progress):
            tell(MoveStep(phase="loading", progress=report.fraction))

    new.hear = hear
    return await new.ready()


async def _handed(old: EngineProcess, path: Path) -> HandedOver:
    handed = await old.ask(HandOver(str(path)), HandedOver, PATIENCE)
    if handed.error:
        raise from_info(handed.error)
    return handed


async def _taken(host: Host, new: EngineProcess, ready: Ready, path: Path) -> TakenOver:
    """What it says before it has really taken over is not for the clients."""
    backlog: list[EngineReport] = []
    new.hear = backlog.append
    taken = await new.ask(TakeOver(str(path)), TakenOver, PATIENCE)
    if taken.error:
        raise from_info(taken.error)
    host.succeed(new, ready)
    for report in backlog:
        host.hear(report)
    new.hear = host.hear
    return taken


async def _end(old: EngineProcess) -> None:
    """It has nothing left to do; its memory is free when this returns."""
    old.send(Shutdown(drain=False))
    try:
        async with asyncio.timeout(END_SECONDS):
            await old.ended()
    except TimeoutError:
        old.kill()
        await old.ended()


async def _kill(new: EngineProcess) -> None:
    new.kill()
    await new.ended()


async def _result(host: Host, how: str, begun: float, taken: Taken) -> MoveResult:
    paused = await _pause(host, taken.sequences)
    fields = {
        "model": host.name,
        "how": how,
        "seconds": time.monotonic() - begun,
        "load_seconds": taken.load_seconds,
        "paused_seconds": paused,
        "sequences": taken.sequences,
        "restored": taken.restored,
        "bytes": taken.bytes,
    }
    return msgspec.convert(fields, MoveResult)


async def _pause(host: Host, sequences: int) -> float:
    """How long the streams were silent, seen from here."""
    line = host.line
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FIRST_WORD):
            while sequences and line.resumed is None:
                line.word.clear()
                await line.word.wait()
    return max(line.resumed - line.quiet, 0.0) if sequences and line.resumed else 0.0


@contextlib.contextmanager
def _folder() -> Generator[Path]:
    """A folder for its owner alone, gone afterwards: what people said passes through it."""
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(scratch_folder("move"))
        except OSError as error:
            raise EngineError(f"What runs could not be written down: {error}") from error
        yield folder


async def _shielded(work: Coroutine[Any, Any, Taken]) -> Taken:
    """Half a hand-over is none: once begun it is brought to its end."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
