"""Measures models while nobody asks anything, so that the next load knows the quickest layout."""

import asyncio
import logging
import threading
import time
import weakref
from pathlib import Path

from msgspec import structs

from ai_assistant.devices.gpus import Gpu
from ai_assistant.devices.plan import CHUNKS
from ai_assistant.protocol.errors import AssistantError
from ai_assistant.protocol.layout import TrialReport
from ai_assistant.protocol.scratch import sweep
from ai_assistant.protocol.status import ModelInfo
from ai_assistant.workers.local import LocalWorker
from ai_assistant.workers.planning import Planner
from ai_assistant.workers.trials import Measuring, Stopped, Ways

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
IDLE_SECONDS = 60.0
"""Without a request before anything is measured."""
NICE = 10


class Idle:
    """Looks after the models that are loaded: tells predictions, measures in pauses."""

    def __init__(self, planner: Planner, *, measure: bool, idle_seconds: float = IDLE_SECONDS):
        """`measure`: whether trials are wanted at all."""
        self._planner = planner
        self._measure = measure
        self._idle_seconds = idle_seconds
        self._workers: dict[str, tuple[ModelInfo, LocalWorker]] = {}
        self._told: weakref.WeakSet[LocalWorker] = weakref.WeakSet()
        self._done: set[str] = set()
        self._again: set[str] = set()
        """Measured a second time, because its steps take something else: not a third time."""
        self._reports: dict[str, dict[bytes, TrialReport]] = {}
        """By model: of trials that a request has interrupted."""
        self._busy_at = time.monotonic()
        self._progress: float | None = None

    def watch(self, model: ModelInfo, worker: LocalWorker) -> None:
        """From now on this is the model's worker."""
        self._workers[model.id] = (model, worker)

    async def run(self) -> None:
        """Until cancelled. First goes what trials that were killed have left."""
        await asyncio.to_thread(sweep)
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._note_work()
            for model, worker in list(self._workers.values()):
                await self._look_after(model, worker)

    async def _look_after(self, model: ModelInfo, worker: LocalWorker) -> None:
        if worker.status().state != "ready" or model.embedding:
            return
        try:
            if worker not in self._told:
                self._told.add(worker)
                await self._tell(model, worker)
            if self._wanted(model):
                await self._measure_in_peace(model, worker)
        except (AssistantError, OSError) as error:
            self._done.add(model.id)
            log.warning("%s is not measured: %s", model.id, error)

    async def _tell(self, model: ModelInfo, worker: LocalWorker) -> None:
        """Predictions of what is loaded, if it was measured."""
        if worker.told and await asyncio.to_thread(self._planner.anything_stored):
            worker.tell(
                await asyncio.to_thread(self._planner.told, model, worker.plan, worker.told)
            )

    def _note_work(self) -> bool:
        """Whether anybody is being answered."""
        busy = any(worker.busy for _, worker in self._workers.values())
        if busy:
            self._busy_at = time.monotonic()
        return busy

    def _wanted(self, model: ModelInfo) -> bool:
        pause = time.monotonic() - self._busy_at
        if not self._measure or pause < self._idle_seconds:
            return False
        return model.id not in self._done or (
            model.id not in self._again and self._planner.doubtful(model)
        )

    async def _measure_in_peace(self, model: ModelInfo, worker: LocalWorker) -> None:
        """Time the model's layers; stop as soon as somebody asks for anything."""
        gpus = await asyncio.to_thread(self._planner.gpus)
        known = await asyncio.to_thread(self._planner.known, model, gpus)
        timed = "f16" in known.benches
        again = timed and known.doubtful
        if not again and (not gpus or timed or len(known.anatomy.layers) < 2):
            self._done.add(model.id)
            return
        stop = threading.Event()
        measuring = asyncio.create_task(asyncio.to_thread(self._trials, model, gpus, stop))
        try:
            while not measuring.done():
                await asyncio.wait([measuring], timeout=0.1)
                if self._note_work():
                    stop.set()
                self._show(worker, self._progress)
            measuring.result()
            self._done.add(model.id)
            if again:
                self._again.add(model.id)
            self._reports.pop(model.id, None)
            await self._tell_of_it(model, worker)
        except Stopped:
            pass
        finally:
            stop.set()
            await asyncio.wait([measuring])
            self._progress = None
            self._show(worker, None)

    def _trials(self, model: ModelInfo, gpus: tuple[Gpu, ...], stop: threading.Event) -> None:
        anatomy = self._planner.known(model, gpus).anatomy
        reports = self._reports.setdefault(model.id, {})
        measuring = Measuring(Path(model.path), anatomy, self._hear, stop=stop, known=reports)
        ways = Ways(
            threads=(self._planner.cores,),
            gpus=tuple(one.name for one in gpus),
            chunk=max(CHUNKS),
            nice=NICE,
        )
        self._planner.keep(model, "f16", measuring.measure(ways))

    def _hear(self, share: float) -> None:
        self._progress = share

    def _show(self, worker: LocalWorker, share: float | None) -> None:
        if worker.told:
            worker.tell(structs.replace(worker.told, measuring=share))

    async def _tell_of_it(self, model: ModelInfo, worker: LocalWorker) -> None:
        if worker.told:
            said = "Measured since: the next load of this model chooses by it."
            told = structs.replace(worker.told, reasons=(*worker.told.reasons, said))
            worker.tell(await asyncio.to_thread(self._planner.told, model, worker.plan, told))
