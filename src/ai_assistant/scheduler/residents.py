"""The models in memory: makes room for one more, or waits until there is some."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager

from ai_assistant.protocol.errors import ModelLoadFailed, ModelLoading
from ai_assistant.protocol.status import ModelInfo
from ai_assistant.protocol.worker import Worker
from ai_assistant.scheduler.easing import Easable
from ai_assistant.scheduler.residency import Resident, Room, decide
from ai_assistant.scheduler.served_model import ServedModel


class Residents:
    """Loads and unloads, one at a time; `residency.py` decides who goes."""

    def __init__(
        self,
        models: Iterable[ServedModel],
        make_worker: Callable[[ModelInfo], tuple[Worker, int]],
        room: Room,
    ) -> None:
        """`make_worker` gives a worker and the bytes of memory that it will take."""
        self._models = {one.model.id: one for one in models}
        self._make_worker = make_worker
        self._room = room
        self._changed = asyncio.Condition()
        self.crowded_at = float("-inf")
        """When somebody last found all room taken by models in use, by the monotonic clock."""

    @asynccontextmanager
    async def held(
        self, model: ServedModel, deadline: float, *, patient: bool = False
    ) -> AsyncGenerator[Worker]:
        """The model's worker, which stays in memory while the body runs. `deadline` by the
        monotonic clock; `patient`: nobody should make room for it. Raises `ModelLoading`."""
        async with self._changed:
            await self._make_resident(model, deadline, patient=patient)
            model.in_use += 1
        try:
            assert model.worker
            yield model.worker
        finally:
            # First the count: waiting for the lock could be cancelled.
            model.in_use -= 1
            model.last_used = time.monotonic()
            async with self._changed:
                self._changed.notify_all()

    async def load(self, model: ServedModel, deadline: float) -> None:
        """Begin to load it."""
        async with self._changed:
            await self._make_resident(model, deadline)

    async def unload(self, model: ServedModel) -> bool:
        """Unless somebody uses it: then False."""
        async with self._changed:
            if model.in_use or model.worker is None:
                return False
            await model.unload()
            self._changed.notify_all()
        return True

    def full(self, model: ModelInfo) -> bool:
        """All who would have to make room for it are in use."""
        return decide(self._residents(), model.size_bytes, self._room).action == "wait"

    # Held: self._changed.

    async def _make_resident(
        self, model: ServedModel, deadline: float, *, patient: bool = False
    ) -> None:
        while model.worker is None:
            try:
                # A plan may have to ask a GPU's driver: nobody else's stream waits for that.
                worker, need = await asyncio.to_thread(self._make_worker, model.model)
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
                await model.load(worker, need)
            elif decision.victim:
                await self._models[decision.victim].unload()
            else:
                if not patient:
                    self.crowded_at = time.monotonic()
                await self._wait_for_change(model, deadline)

    async def _unload_idle(self) -> bool:
        idle = [one for one in self._models.values() if one.worker and not one.in_use]
        if not idle:
            return False
        await min(idle, key=lambda one: one.last_used).unload()
        return True

    def _residents(self) -> list[Resident]:
        return [
            Resident(one.model.id, one.bytes, one.in_use, one.last_used)
            for one in self._models.values()
            if one.worker
        ]

    async def _wait_for_change(self, model: ServedModel, deadline: float) -> None:
        try:
            async with asyncio.timeout(max(deadline - time.monotonic(), 0)):
                await self._changed.wait()
        except TimeoutError:
            raise ModelLoading(
                f"All loaded models are in use, so {model.model.id} has to wait; try again.",
                retry_after=5,
                progress=0.0,
            ) from None


def _passes_through(worker: Worker) -> bool:
    """Whether a part of its weights would come from disk in every step."""
    return isinstance(worker, Easable) and worker.plan.resident_bytes > 0
