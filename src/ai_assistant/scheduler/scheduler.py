"""Which worker answers a request, and which models are in memory for it."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import psutil
from msgspec import structs

from ai_assistant.protocol.chunks import Embeddings, TokenChunk, Tokenization
from ai_assistant.protocol.errors import (
    AssistantError,
    ModelLoading,
    ModelNotFound,
    ShuttingDown,
    Unavailable,
)
from ai_assistant.protocol.power import PowerStatus
from ai_assistant.protocol.relayout import Usage
from ai_assistant.protocol.requests import EmbedRequest, GenerateRequest, Priority, TokenizeRequest
from ai_assistant.protocol.routing import Served
from ai_assistant.protocol.status import ModelInfo, ModelStatus, MoveStatus, NodeStatus
from ai_assistant.protocol.worker import Worker
from ai_assistant.scheduler.abandon import Abandoning
from ai_assistant.scheduler.blocks.here import BlocksHere, OwnBlocks
from ai_assistant.scheduler.easing import Loaded
from ai_assistant.scheduler.leaving import keep
from ai_assistant.scheduler.residency import Room
from ai_assistant.scheduler.residents import Residents
from ai_assistant.scheduler.served_model import Here, ServedModel
from ai_assistant.scheduler.settings import SchedulerSettings

DEFAULT_ALIAS = "default"
"""A name for whichever model is the default."""
_ONLY = "the model of that name"
_LONGEST_LOAD = 1800.0


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
        self._models = {model.id: ServedModel(model) for model in models}
        total = psutil.virtual_memory().total
        room = Room(settings.max_loaded, int(total * settings.memory_fraction))
        self._residents = Residents(self._models.values(), make_worker, room)
        self._load_wait_seconds = load_wait_seconds
        self._version = version
        self._started_at = time.monotonic()
        self._process = psutil.Process()
        self._closing = False
        patience = settings.abandon_load_seconds
        self._abandoning = Abandoning(patience, self._wasted, self.unload)
        self._warming: dict[str, asyncio.Task[None]] = {}
        self.power: Callable[[], PowerStatus | None] = lambda: None
        """Who tells of power and heat."""

    # Requests.

    async def generate(self, request: GenerateRequest) -> AsyncIterator[TokenChunk]:
        """The answer's pieces from the model's worker."""
        patient = request.priority is Priority.BATCH
        async with self._lease(request.model, patient=patient) as worker:
            model = self._find(request.model)
            served = Served(worker=model.model.id, reason=_ONLY, cost=0.0)
            pieces = worker.generate(request)
            begun = False
            try:
                async for chunk in pieces:
                    if begun and chunk.usage is None:
                        yield chunk
                        continue
                    begun = True
                    model.note(chunk)
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
        model = self._find(name)
        deadline = time.monotonic() + (self._load_wait_seconds if wait is None else wait)
        try:
            async with self._residents.held(model, deadline, patient=patient) as worker:
                await _await_ready(model.model.id, worker, deadline)
                yield worker
        finally:
            self._abandoning.consider(model.model.id)

    @asynccontextmanager
    async def lend(self, name: str) -> AsyncGenerator[tuple[ModelInfo, Worker], None]:
        """A model that is in memory, and stays there for as long as it is lent."""
        model = self._find(name)
        if model.state != "ready":
            raise Unavailable(f"{model.model.id} is not loaded: nothing of it runs.")
        async with self._lease(name) as worker:
            yield model.model, worker

    def resized(self, name: str, need: int) -> None:
        """A model takes so many bytes now."""
        self._find(name).bytes = need

    def note_move(self, name: str, moved: MoveStatus) -> None:
        """A model was moved, or should have been; what the owner chose stays so."""
        self._find(name).note_move(moved)

    def release(self, name: str) -> None:
        """Its layout may be changed again by whoever finds a better one."""
        self._find(name).held = False

    def state_of(self, name: str) -> ModelStatus:
        """One model as it is now."""
        model = self._find(name)
        return model.status(default=model.model.id == self.default_model())

    def usage(self, name: str) -> Usage | None:
        """What was asked of a model lately; None: nothing."""
        return self._find(name).usage()

    def _find(self, name: str) -> ServedModel:
        wanted = self.default_model() if name in ("", DEFAULT_ALIAS) else name
        model = self._models.get(wanted or "")
        if model is None:
            known = ", ".join(self._models)
            raise ModelNotFound(
                f"The model {name!r} is not known here; there is {known}.", param="model"
            )
        return model

    def _wasted(self, name: str) -> float | None:
        """When somebody last waited for this model's load; None where it is loaded for a reason."""
        model = self._find(name)
        wanted = model.in_use or model.model.id == self.default_model()
        return model.last_used if model.state == "loading" and not wanted else None

    # What memory asks.

    def stays(self, request_id: str) -> None:
        """Nobody takes over this answer, which was offered."""
        keep(self.workers(), request_id)

    def blocks(self, model: str, request_id: str, tenant: str) -> OwnBlocks:
        """The KV blocks of the models here, for an answer that leaves or comes."""
        return OwnBlocks(BlocksHere(self), model, tenant)

    def workers(self) -> list[Worker]:
        """Of the models in memory."""
        return [one.worker for one in self._models.values() if one.worker]

    def loaded(self) -> list[Loaded]:
        """The models in memory."""
        default = self.default_model()
        return [
            Loaded(one.model.id, one.worker, one.in_use, one.last_used, one.model.id == default)
            for one in self._models.values()
            if one.worker
        ]

    async def unload(self, name: str) -> bool:
        """A model that nobody uses; False where somebody does by now."""
        return await self._residents.unload(self._find(name))

    @property
    def crowded_at(self) -> float:
        """When somebody last found all room taken by models in use, by the monotonic clock."""
        return self._residents.crowded_at

    # The node as a whole.

    async def start(self) -> None:
        """Begin to load the default model."""
        default = self.default_model()
        if default:
            deadline = time.monotonic() + self._load_wait_seconds
            await self._residents.load(self._models[default], deadline)

    async def stop(self, *, drain: bool = True) -> None:
        """Take nothing new; end every worker, with `drain` after what is running."""
        self._closing = True
        await asyncio.gather(*(worker.stop(drain=drain) for worker in self.workers()))

    def status(self) -> NodeStatus:
        """Every model, loaded or not."""
        default = self.default_model()
        return NodeStatus(
            version=self._version,
            uptime_seconds=time.monotonic() - self._started_at,
            pid=os.getpid(),
            memory_bytes=self._process.memory_info().rss,
            models=tuple(one.status(default=name == default) for name, one in self._models.items()),
            power=self.power(),
        )

    def default_model(self) -> str | None:
        """The model that is used when none is named."""
        return next(iter(self._models), None)

    # What routing asks.

    def models(self) -> list[ModelInfo]:
        """Every model, the default first."""
        return [one.model for one in self._models.values()]

    def serves(self, name: str) -> bool:
        """Whether a model here has this name."""
        return name in self._models

    def here(self, name: str) -> Here:
        """The model of that name, as it is now; raises `ModelNotFound`."""
        model = self._find(name)
        return model.here(no_room=model.worker is None and self._residents.full(model.model))

    def warm(self, name: str) -> None:
        """Begin to load a model that will be wanted; nobody makes room for it who is in use."""
        model = self._find(name).model.id
        warming = self._warming.get(model)
        if warming is None or warming.done():
            self._warming[model] = asyncio.create_task(self._warm(model))

    async def _warm(self, name: str) -> None:
        with suppress(AssistantError):
            async with self._lease(name, patient=True, wait=_LONGEST_LOAD):
                pass


async def _await_ready(name: str, worker: Worker, deadline: float) -> None:
    try:
        # A model that is ready costs no task and no timer.
        if worker.status().state != "ready":
            await worker.start()
            async with asyncio.timeout(max(deadline - time.monotonic(), 0)):
                await worker.ready()
    except TimeoutError:
        raise _still_loading(name, worker.status()) from None


def _still_loading(name: str, status: ModelStatus) -> ModelLoading:
    return ModelLoading(
        f"{name} is being loaded ({status.progress:.0%}); try again.",
        retry_after=max(1.0, status.eta_seconds or 2.0),
        progress=status.progress,
    )
