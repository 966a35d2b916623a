"""Which worker answers a request, and which models are in memory for it."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

import psutil

from ai_assistant.protocol.chunks import Embeddings, TokenChunk, Tokenization
from ai_assistant.protocol.errors import (
    ModelLoadFailed,
    ModelLoading,
    ModelNotFound,
    ShuttingDown,
)
from ai_assistant.protocol.requests import EmbedRequest, GenerateRequest, Priority, TokenizeRequest
from ai_assistant.protocol.status import ModelInfo, ModelStatus, NodeStatus
from ai_assistant.protocol.worker import Worker
from ai_assistant.scheduler.residency import Resident, Room, decide
from ai_assistant.scheduler.settings import SchedulerSettings

DEFAULT_ALIAS = "default"
"""A name for whichever model is the default."""


class Place:
    """A model that can be served, and its worker once it has been asked for."""

    def __init__(self, model: ModelInfo) -> None:
        self.model = model
        self.worker: Worker | None = None
        self.in_use = 0
        self.last_used = 0.0
        self.bytes = 0


class Scheduler:
    """The node's models behind one door: `protocol.worker.Service`."""

    def __init__(
        self,
        models: tuple[ModelInfo, ...],
        make_worker: Callable[[ModelInfo], tuple[Worker, int]],
        settings: SchedulerSettings,
        *,
        version: str,
        load_wait_seconds: float,
    ) -> None:
        """`make_worker` gives a worker and the bytes of memory that it will take.

        The first of `models` is the default.
        """
        self._places = {model.id: Place(model) for model in models}
        self._make_worker = make_worker
        self._load_wait_seconds = load_wait_seconds
        self._version = version
        total = psutil.virtual_memory().total
        self._room = Room(settings.max_loaded, int(total * settings.memory_fraction))
        self._changed = asyncio.Condition()
        self._started_at = time.monotonic()
        self._process = psutil.Process()
        self._closing = False
        self.crowded_at = float("-inf")
        """When somebody last found all room taken by models in use, by the monotonic clock."""

    # Requests.

    async def generate(self, request: GenerateRequest) -> AsyncIterator[TokenChunk]:
        """The answer's pieces from the model's worker."""
        patient = request.priority is Priority.BATCH
        async with self._lease(request.model, patient=patient) as worker:
            pieces = worker.generate(request)
            try:
                async for chunk in pieces:
                    yield chunk
            finally:
                await pieces.aclose()  # type: ignore[attr-defined]

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """The vectors from the model's worker."""
        async with self._lease(request.model) as worker:
            return await worker.embed(request)

    async def tokenize(self, request: TokenizeRequest) -> Tokenization:
        """How the model's worker reads a prompt."""
        async with self._lease(request.model) as worker:
            return await worker.tokenize(request)

    @asynccontextmanager
    async def _lease(self, name: str, *, patient: bool = False) -> AsyncGenerator[Worker, None]:
        """The model's worker, loaded, and kept in memory for as long as the lease lasts.

        `patient`: nobody should make room for it.
        """
        if self._closing:
            raise ShuttingDown("The node is shutting down; ask again when it is back.")
        place = self._find(name)
        deadline = time.monotonic() + self._load_wait_seconds
        async with self._changed:
            await self._make_resident(place, deadline, patient=patient)
            place.in_use += 1
        try:
            assert place.worker
            await self._await_ready(place, place.worker, deadline)
            yield place.worker
        finally:
            # First the count: waiting for the lock could be cancelled.
            place.in_use -= 1
            place.last_used = time.monotonic()
            async with self._changed:
                self._changed.notify_all()

    def _find(self, name: str) -> Place:
        wanted = self.default_model() if name in ("", DEFAULT_ALIAS) else name
        place = self._places.get(wanted or "")
        if place is None:
            known = ", ".join(self._places)
            raise ModelNotFound(
                f"The model {name!r} is not known here; there is {known}.", param="model"
            )
        return place

    async def _await_ready(self, place: Place, worker: Worker, deadline: float) -> None:
        try:
            # A model that is ready costs no task and no timer.
            if worker.status().state != "ready":
                await worker.start()
                async with asyncio.timeout(max(deadline - time.monotonic(), 0)):
                    await worker.ready()
        except TimeoutError:
            raise self._still_loading(place, worker.status()) from None

    def _still_loading(self, place: Place, status: ModelStatus) -> ModelLoading:
        return ModelLoading(
            f"{place.model.id} is being loaded ({status.progress:.0%}); try again.",
            retry_after=max(1.0, status.eta_seconds or 2.0),
            progress=status.progress,
        )

    # Residency. Held: self._changed.

    async def _make_resident(self, place: Place, deadline: float, *, patient: bool = False) -> None:
        while place.worker is None:
            try:
                worker, need = self._make_worker(place.model)
            except ModelLoadFailed:
                # It does not fit into what is free now: perhaps without an idle model it does.
                if not await self._unload_idle():
                    self.crowded_at = self.crowded_at if patient else time.monotonic()
                    raise
                continue
            decision = decide(self._residents(), need, self._room)
            if decision.action == "load":
                place.worker, place.bytes = worker, need
                await worker.start()
            elif decision.victim:
                await self._unload(self._places[decision.victim])
            else:
                if not patient:
                    self.crowded_at = time.monotonic()
                await self._wait_for_change(place, deadline)

    async def _unload_idle(self) -> bool:
        idle = [place for place in self._places.values() if place.worker and not place.in_use]
        if not idle:
            return False
        await self._unload(min(idle, key=lambda place: place.last_used))
        return True

    def _residents(self) -> list[Resident]:
        return [
            Resident(place.model.id, place.bytes, place.in_use, place.last_used)
            for place in self._places.values()
            if place.worker
        ]

    async def _unload(self, place: Place) -> None:
        worker, place.worker = place.worker, None
        if worker:
            # An impatient client must not leave an engine behind that nobody counts.
            await asyncio.shield(asyncio.ensure_future(worker.stop()))

    async def _wait_for_change(self, place: Place, deadline: float) -> None:
        try:
            async with asyncio.timeout(max(deadline - time.monotonic(), 0)):
                await self._changed.wait()
        except TimeoutError:
            raise ModelLoading(
                f"All loaded models are in use, so {place.model.id} has to wait; try again.",
                retry_after=5,
                progress=0.0,
            ) from None

    # The node as a whole.

    async def start(self) -> None:
        """Begin to load the default model."""
        default = self.default_model()
        if default:
            async with self._changed:
                await self._make_resident(
                    self._places[default], time.monotonic() + self._load_wait_seconds
                )

    async def stop(self, *, drain: bool = True) -> None:
        """Take nothing new; end every worker, with `drain` after what is running."""
        self._closing = True
        workers = [place.worker for place in self._places.values() if place.worker]
        await asyncio.gather(*(worker.stop(drain=drain) for worker in workers))

    def default_model(self) -> str | None:
        """The model that is used when none is named."""
        return next(iter(self._places), None)

    def serves(self, name: str) -> bool:
        """Whether a model here has this name."""
        return name in self._places

    def status(self) -> NodeStatus:
        """Every model, loaded or not."""
        return NodeStatus(
            version=self._version,
            uptime_seconds=time.monotonic() - self._started_at,
            pid=os.getpid(),
            memory_bytes=self._process.memory_info().rss,
            models=tuple(self._place_status(place) for place in self._places.values()),
        )

    def _place_status(self, place: Place) -> ModelStatus:
        default = place.model.id == self.default_model()
        if place.worker is None:
            return ModelStatus(model=place.model, state="unloaded", default=default)
        status = place.worker.status()
        return ModelStatus(
            model=place.model,
            state=status.state,
            default=default,
            progress=status.progress,
            eta_seconds=status.eta_seconds,
            error=status.error,
            engine=status.engine,
            restarts=status.restarts,
        )
