"""Which worker answers a request, and which models are in memory for it."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import msgspec
import psutil
from msgspec import structs

from ai_assistant.protocol.chunks import Embeddings, TokenChunk, Tokenization
from ai_assistant.protocol.errors import (
    AssistantError,
    ModelLoadFailed,
    ModelLoading,
    ModelNotFound,
    ShuttingDown,
    Unavailable,
)
from ai_assistant.protocol.power import PowerStatus
from ai_assistant.protocol.requests import EmbedRequest, GenerateRequest, Priority, TokenizeRequest
from ai_assistant.protocol.routing import Served
from ai_assistant.protocol.status import ModelInfo, ModelStatus, NodeStatus
from ai_assistant.protocol.worker import Worker
from ai_assistant.scheduler.abandon import Abandoning
from ai_assistant.scheduler.easing import Easable, Loaded
from ai_assistant.scheduler.residency import Resident, Room, decide
from ai_assistant.scheduler.routing.facts import Pace
from ai_assistant.scheduler.routing.learned import Learned
from ai_assistant.scheduler.settings import SchedulerSettings

DEFAULT_ALIAS = "default"
"""A name for whichever model is the default."""
_ONLY = "the model of that name"
_LONGEST_LOAD = 1800.0


class Place:
    """A model that can be served, and its worker once it has been asked for."""

    def __init__(self, model: ModelInfo) -> None:
        self.model = model
        self.worker: Worker | None = None
        self.in_use = 0
        self.last_used = 0.0
        self.bytes = 0
        self.learned = Learned(reading=True)
        self.answer_seconds = 0.0
        """What an answer took lately, in the engine."""
        self.warming: asyncio.Task[None] | None = None

    def note(self, chunk: TokenChunk) -> None:
        """The last piece of an answer: what it tells of the engine's speed."""
        usage, timings = chunk.usage, chunk.timings
        if usage is None or timings is None:
            return
        computed, others = max(usage.prompt_tokens - usage.cached_tokens, 0), self.in_use - 1
        self.learned.note_first(computed, timings.prefill_ms / 1000, others)
        if usage.completion_tokens > 1 and timings.decode_ms > 0:
            seconds = timings.decode_ms / 1000 / (usage.completion_tokens - 1)
            self.learned.note_pace(seconds, others)
        spent = (timings.prefill_ms + timings.decode_ms) / 1000
        self.answer_seconds += (spent - self.answer_seconds) * (0.2 if self.answer_seconds else 1)


class Here(msgspec.Struct, frozen=True, kw_only=True):
    """A model of this node, as routing looks at it."""

    model: ModelInfo
    context: int
    queue: float
    """Seconds until a slot is free."""
    load: float | None
    """Seconds until it is in memory, 0 when it is there; None: by no measure."""
    crowd: int
    """Requests that have it now."""
    no_room: bool
    """It is not in memory, and all models that are there are in use."""
    pace: Pace


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
        patience = settings.abandon_load_seconds
        self._abandoning = Abandoning(patience, self._wasted, self.unload)
        self._timing: dict[str, asyncio.Task[None]] = {}
        self.power: Callable[[], PowerStatus | None] = lambda: None
        """Who tells of power and heat."""
        self.crowded_at = float("-inf")
        """When somebody last found all room taken by models in use, by the monotonic clock."""

    # Requests.

    async def generate(self, request: GenerateRequest) -> AsyncIterator[TokenChunk]:
        """The answer's pieces from the model's worker."""
        patient = request.priority is Priority.BATCH
        async with self._lease(request.model, patient=patient) as worker:
            place = self._find(request.model)
            served = Served(worker=place.model.id, reason=_ONLY, cost=0.0)
            pieces = worker.generate(request)
            begun = False
            try:
                async for chunk in pieces:
                    if begun and chunk.usage is None:
                        yield chunk
                        continue
                    begun = True
                    place.note(chunk)
                    yield structs.replace(chunk, served=served)
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
    async def _lease(
        self, name: str, *, patient: bool = False, wait: float | None = None
    ) -> AsyncGenerator[Worker, None]:
        """The model's worker, loaded, and kept in memory for as long as the lease lasts.

        `patient`: nobody should make room for it. `wait`: seconds that its load may take.
        """
        if self._closing:
            raise ShuttingDown("The node is shutting down; ask again when it is back.")
        place = self._find(name)
        deadline = time.monotonic() + (self._load_wait_seconds if wait is None else wait)
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
            self._abandoning.consider(place.model.id)
            async with self._changed:
                self._changed.notify_all()

    @asynccontextmanager
    async def lend(self, name: str) -> AsyncGenerator[tuple[ModelInfo, Worker], None]:
        """A model that is in memory, and stays there for as long as it is lent."""
        place = self._find(name)
        if place.worker is None or place.worker.status().state != "ready":
            raise Unavailable(f"{place.model.id} is not loaded: nothing of it runs.")
        async with self._lease(name) as worker:
            yield place.model, worker

    def resized(self, name: str, need: int) -> None:
        """A model takes so many bytes now."""
        self._find(name).bytes = need

    def _wasted(self, name: str) -> float | None:
        """When somebody last waited for this model's load; None where it is loaded for a reason."""
        place = self._find(name)
        loading = place.worker is not None and place.worker.status().state == "loading"
        wanted = place.in_use or place.model.id == self.default_model()
        return place.last_used if loading and not wanted else None

    # What memory asks.

    def loaded(self) -> list[Loaded]:
        """The models in memory."""
        default = self.default_model()
        return [
            Loaded(
                place.model.id,
                place.worker,
                place.in_use,
                place.last_used,
                place.model.id == default,
            )
            for place in self._places.values()
            if place.worker
        ]

    async def unload(self, name: str) -> bool:
        """A model that nobody uses; False where somebody does by now."""
        place = self._find(name)
        async with self._changed:
            if place.in_use or place.worker is None:
                return False
            await self._unload(place)
            self._changed.notify_all()
        return True

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
                # A plan may have to ask a GPU's driver: nobody else's stream waits for that.
                worker, need = await asyncio.to_thread(self._make_worker, place.model)
            except ModelLoadFailed:
                # It does not fit into what is free now: perhaps without an idle model it does.
                if not await self._unload_idle():
                    self.crowded_at = self.crowded_at if patient else time.monotonic()
                    raise
                continue
            if _passes_through(worker) and await self._unload_idle():
                continue  # without an idle model all of it may have room
            decision = decide(self._residents(), need, self._room)
            if decision.action == "load":
                place.worker, place.bytes = worker, need
                await worker.start()
                self._timing[place.model.id] = asyncio.create_task(_time_load(place, worker))
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

    # What routing asks.

    def models(self) -> list[ModelInfo]:
        """Every model, the default first."""
        return [place.model for place in self._places.values()]

    def here(self, name: str) -> Here:
        """The model of that name, as it is now; raises `ModelNotFound`."""
        place = self._find(name)
        status = place.worker.status() if place.worker else None
        engine = status.engine if status else None
        pace = place.learned.pace(place.in_use)
        load = pace.load
        if status and status.state == "ready":
            load = 0.0
        elif status and status.state == "loading":
            load = status.eta_seconds or (load and load * (1 - status.progress))
        slots = engine.slots if engine else 1
        ahead = max(place.in_use - slots + 1, 0) if engine else 0
        return Here(
            model=place.model,
            context=engine.context_limit if engine else place.model.context_train,
            queue=ahead / slots * place.answer_seconds,
            load=load,
            crowd=place.in_use,
            no_room=place.worker is None and self._full(place.model),
            pace=pace,
        )

    def _full(self, model: ModelInfo) -> bool:
        return decide(self._residents(), model.size_bytes, self._room).action == "wait"

    def warm(self, name: str) -> None:
        """Begin to load a model that will be wanted; nobody makes room for it who is in use."""
        place = self._find(name)
        if place.warming is None or place.warming.done():
            place.warming = asyncio.create_task(self._warm(name))

    async def _warm(self, name: str) -> None:
        with suppress(AssistantError):
            async with self._lease(name, patient=True, wait=_LONGEST_LOAD):
                pass

    def status(self) -> NodeStatus:
        """Every model, loaded or not."""
        return NodeStatus(
            version=self._version,
            uptime_seconds=time.monotonic() - self._started_at,
            pid=os.getpid(),
            memory_bytes=self._process.memory_info().rss,
            models=tuple(self._place_status(place) for place in self._places.values()),
            power=self.power(),
        )

    def _place_status(self, place: Place) -> ModelStatus:
        default = place.model.id == self.default_model()
        if place.worker is None:
            return ModelStatus(model=place.model, state="unloaded", default=default)
        return structs.replace(place.worker.status(), model=place.model, default=default)


def _passes_through(worker: Worker) -> bool:
    """Whether a part of its weights would come from disk in every step."""
    return isinstance(worker, Easable) and worker.plan.resident_bytes > 0


async def _time_load(place: Place, worker: Worker) -> None:
    """Note how long a model takes from its first byte to its first answer."""
    began = time.monotonic()
    with suppress(AssistantError):
        await worker.ready()
        place.learned.note_load(time.monotonic() - began)
