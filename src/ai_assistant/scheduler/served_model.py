"""A model that the node can serve: its worker, if it is in memory, who uses it, how quick it is."""

import asyncio
import time
from contextlib import suppress

import msgspec
from msgspec import structs

from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.protocol.errors import AssistantError
from ai_assistant.protocol.relayout import Usage
from ai_assistant.protocol.status import ModelInfo, ModelStatus, MoveStatus
from ai_assistant.protocol.worker import Worker
from ai_assistant.scheduler.routing.facts import Pace
from ai_assistant.scheduler.routing.learned import Learned
from ai_assistant.scheduler.usage import Turn, Turns


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


class ServedModel:
    """It has a worker once it has been asked for, until it is unloaded."""

    def __init__(self, model: ModelInfo) -> None:
        self.model = model
        self.worker: Worker | None = None
        self.in_use = 0
        """Requests that need it now."""
        self.last_used = 0.0
        self.bytes = 0
        """Of memory, while it has a worker."""
        self.moved: MoveStatus | None = None
        """The last move of this worker."""
        self.held = False
        """Its layout was chosen by hand."""
        self._turns = Turns()
        self._learned = Learned(reading=True)
        self._answer_seconds = 0.0
        """What an answer took lately, in the engine."""
        self._timing: asyncio.Task[None] | None = None

    @property
    def state(self) -> str:
        """Of its worker; `unloaded` without one."""
        return self.worker.status().state if self.worker else "unloaded"

    def status(self, *, default: bool) -> ModelStatus:
        """As it is now."""
        if self.worker is None:
            return ModelStatus(model=self.model, state="unloaded", default=default)
        return structs.replace(
            self.worker.status(),
            model=self.model,
            default=default,
            moved=self.moved,
            held=self.held,
        )

    async def load(self, worker: Worker, need: int) -> None:
        """Begin to load; `need` is in bytes."""
        self.worker, self.bytes = worker, need
        await worker.start()
        self._timing = asyncio.create_task(self._time_load(worker))

    async def unload(self) -> None:
        """End its worker, to the last."""
        worker, self.worker = self.worker, None
        self.moved, self.held = None, False
        if worker:
            # An impatient client must not leave an engine behind that nobody counts.
            await asyncio.shield(asyncio.ensure_future(worker.stop()))

    def note(self, chunk: TokenChunk) -> None:
        """The last piece of an answer: what it tells of the engine's speed."""
        usage, timings = chunk.usage, chunk.timings
        if usage is None or timings is None:
            return
        turn = Turn(
            time.monotonic(),
            usage.prompt_tokens,
            usage.cached_tokens,
            usage.completion_tokens,
            self.in_use,
        )
        self._turns.note(turn)
        computed, others = max(usage.prompt_tokens - usage.cached_tokens, 0), self.in_use - 1
        self._learned.note_first(computed, timings.prefill_ms / 1000, others)
        if usage.completion_tokens > 1 and timings.decode_ms > 0:
            seconds = timings.decode_ms / 1000 / (usage.completion_tokens - 1)
            self._learned.note_pace(seconds, others)
        spent = (timings.prefill_ms + timings.decode_ms) / 1000
        self._answer_seconds += (spent - self._answer_seconds) * (
            0.2 if self._answer_seconds else 1
        )

    def note_move(self, moved: MoveStatus) -> None:
        """It was moved, or should have been; what the owner chose stays so."""
        self.moved = moved
        self.held = self.held or (moved.by == "owner" and moved.error is None)

    def usage(self) -> Usage | None:
        """What was asked of it lately; None: nothing."""
        return self._turns.usage(time.monotonic(), self.in_use)

    def here(self, *, no_room: bool) -> Here:
        """What routing wants to know; `no_room` for it, if it had to be loaded."""
        status = self.worker.status() if self.worker else None
        engine = status.engine if status else None
        pace = self._learned.pace(self.in_use)
        load = pace.load
        if status and status.state == "ready":
            load = 0.0
        elif status and status.state == "loading":
            load = status.eta_seconds or (load and load * (1 - status.progress))
        slots = engine.slots if engine else 1
        ahead = max(self.in_use - slots + 1, 0) if engine else 0
        return Here(
            model=self.model,
            context=engine.context_limit if engine else self.model.context_train,
            queue=ahead / slots * self._answer_seconds,
            load=load,
            crowd=self.in_use,
            no_room=no_room,
            pace=pace,
        )

    async def _time_load(self, worker: Worker) -> None:
        """Note how long it takes from its first byte to its first answer."""
        began = time.monotonic()
        with suppress(AssistantError):
            await worker.ready()
            self._learned.note_load(time.monotonic() - began)
