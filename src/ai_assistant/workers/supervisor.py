"""Keeps a model's engine running: starts it, and again when it dies, until it dies too often."""

import asyncio
import collections
import contextlib
import logging
import time
from collections.abc import Sequence

from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.errors import (
    EngineDied,
    ErrorInfo,
    ModelLoadFailed,
    ShuttingDown,
    from_info,
)
from ai_assistant.protocol.frames import Shutdown
from ai_assistant.workers.answers import Answers
from ai_assistant.workers.engine_process import EngineProcess, Hear
from ai_assistant.workers.lifecycle import Lifecycle
from ai_assistant.workers.line import Line
from ai_assistant.workers.plan_in_use import PlanInUse

log = logging.getLogger(__name__)

RESTART_WINDOW = 60.0
"""Seconds in which deaths are counted."""
FAILED_LOADS = 2
"""Deaths in a row while loading after which a model is given up."""
DRAIN_SECONDS = 60.0
"""How long a stop waits for running requests."""


class Supervisor:
    """One engine process after the other, for one model."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        max_restarts: int,
        plan: PlanInUse,
        line: Line,
        lifecycle: Lifecycle,
        answers: Answers,
        hear: Hear,
    ) -> None:
        """`hear` gets what engines report."""
        self._name = name
        self._command = command
        self._max_restarts = max_restarts
        self._plan = plan
        self._line = line
        self._lifecycle = lifecycle
        self._answers = answers
        self._hear = hear
        self._running: asyncio.Task[None] | None = None
        self._refused: ErrorInfo | None = None
        self._deaths: collections.deque[float] = collections.deque()
        self._failed_loads = 0
        self._complaints: collections.deque[str] = collections.deque(maxlen=30)
        self.restarts = 0
        self.stopping = False

    def start(self) -> None:
        """Begin to load, again after a failure."""
        if self._running and not self._running.done():
            return
        self.stopping = False
        self._lifecycle.error = None
        self._failed_loads = 0
        self._lifecycle.begin_loading()
        self._running = asyncio.create_task(self._run())

    async def stop(self, *, drain: bool) -> None:
        """End the engine: with `drain` after the running requests are done, else now."""
        process = self._line.process
        if process and process.alive:
            # One that loads has nothing to drain and reads no orders.
            if drain and self._lifecycle.ready:
                self._line.send(Shutdown(drain=True))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.ended(), DRAIN_SECONDS)
            process.kill()
        if self._running:
            await asyncio.wait([self._running])

    def note_loaded(self) -> None:
        """The engine is ready."""
        self._failed_loads = 0

    def note_refusal(self, error: ErrorInfo) -> None:
        """The engine cannot load; where there is a smaller plan to try, that is not the end."""
        if self._plan.can_shrink:
            self._refused = error
        else:
            self._lifecycle.fail(from_info(error))

    async def launch(self, plan: EnginePlan, hear: Hear) -> EngineProcess:
        """An engine that loads this plan. Raises `OSError`."""
        return await EngineProcess.launch(self._name, self._command, plan, hear)

    def follow(self, process: EngineProcess) -> None:
        """This is the engine from now on."""
        self._line.process = process
        self._complaints = process.complaints

    async def _run(self) -> None:
        """Run engines until one ends as it should or they die too often."""
        while True:
            died = await self._run_safely()
            if self.stopping or not died:
                break
            if self._shrinks(died):
                continue
            if self._lifecycle.error:
                break
            self.restarts += 1
            log.warning("engine of %s: %s", self._name, died.message)
            if self._gives_up():
                self._lifecycle.error = ModelLoadFailed(
                    f"The engine of {self._name} died {self.restarts} times and is not "
                    f"started again. Last reason: {died.message}"
                )
                break
            self._lifecycle.begin_loading()
            await asyncio.sleep(0.1 * 2 ** len(self._deaths))
            if self.stopping:
                break
        self._lifecycle.end()

    async def _run_safely(self) -> EngineDied | None:
        """The same as `_run_engine`, and an engine that could not even be started has died."""
        try:
            return await self._run_engine()
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
            if self._line.process:
                self._line.process.kill()
            self._complaints.append(f"it could not be run: {error}")
            return self._bury(1)

    async def _run_engine(self) -> EngineDied | None:
        """One process from start to end, or those that followed it in a move; the last one's death
        as an error if it was not asked for."""
        self._complaints.clear()
        engine = await self.launch(self._plan.plan, self._hear)
        engine.complaints = self._complaints
        self._line.process = engine
        if self.stopping:
            engine.kill()
        while True:
            code = await engine.ended()
            heir = await engine.heir if engine.heir else None
            if heir is None:
                return self._bury(code)
            engine = heir

    def _shrinks(self, died: EngineDied) -> bool:
        """Where the plan found no room: go on with a smaller one."""
        refused, self._refused = self._refused, None
        told = refused.message if refused else died.message
        symptoms = told if refused else f"{told} {' '.join(self._complaints)}"
        smaller = self._plan.shrink(told, symptoms)
        if smaller:
            reasons = self._plan.told.reasons if self._plan.told else ()
            log.warning("%s: %s", self._name, reasons[-1] if reasons else told)
            self._failed_loads = 0
            self._lifecycle.begin_loading()
        elif refused:
            self._lifecycle.fail(from_info(refused))
        return smaller

    def _bury(self, code: int) -> EngineDied | None:
        """The process is gone: whoever waits is told."""
        reason = self._lifecycle.error
        if reason is None and (self.stopping or not code):
            reason = ShuttingDown("The model was unloaded; ask again to load it.")
        died = None
        if reason is None:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            detail = f" ({self._complaints[-1]})" if self._complaints else ""
            died = EngineDied(f"The engine {how}{detail}.", retry_after=2)
            self._deaths.append(time.monotonic())
            self._failed_loads += not self._lifecycle.ready
        self._answers.fail(reason or died or EngineDied("The engine ended."))
        self._lifecycle.engine = None
        return died

    def _gives_up(self) -> bool:
        """Too many deaths in a minute, or again and again while loading, however long it takes."""
        while time.monotonic() - self._deaths[0] > RESTART_WINDOW:
            self._deaths.popleft()
        return len(self._deaths) > self._max_restarts or self._failed_loads > FAILED_LOADS
