"""The blocks of the models on this machine."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Protocol, runtime_checkable

from ai_assistant.protocol.blocks import Offered, Part, Weighed
from ai_assistant.protocol.errors import NotFound, UnsupportedFeature
from ai_assistant.protocol.status import ModelInfo
from ai_assistant.protocol.worker import Worker


class WorkerBlocks(Protocol):
    """Those of one worker."""

    @property
    def awaited(self) -> bool: ...

    @property
    def room(self) -> int: ...

    def knows(self, ticket: str) -> bool: ...

    def give(self, ticket: str, tenant: str | None) -> AsyncGenerator[Part, None]: ...

    async def weigh(self, offered: Offered, tenant: str) -> Weighed: ...

    async def take(self, part: Part, tenant: str) -> None: ...


@runtime_checkable
class Keeper(Protocol):
    """A worker that has some."""

    kv_blocks: WorkerBlocks


class Models(Protocol):
    """The models in memory."""

    def workers(self) -> Iterable[Worker]: ...

    def lend(self, name: str) -> AbstractAsyncContextManager[tuple[ModelInfo, Worker]]: ...


class BlocksHere:
    """What other nodes may have of them, or give them."""

    def __init__(self, models: Models) -> None:
        self._models = models

    @property
    def awaited(self) -> bool:
        """Somebody may still come for those of an answer that leaves."""
        return any(one.awaited for one in self._keepers())

    async def give(self, ticket: str, tenant: str | None) -> AsyncGenerator[Part, None]:
        """Those of the answer that the ticket is for; with a `tenant` only its own. Raises
        `NotFound`."""
        for one in self._keepers():
            if one.knows(ticket):
                async with aclosing(one.give(ticket, tenant)) as parts:
                    async for part in parts:
                        yield part
                return
        raise NotFound("No answer here is left for that ticket.")

    async def room(self, model: str) -> int:
        """Bytes that a model's blocks may have in memory; raises where it is not loaded."""
        async with self._models.lend(model) as (_, worker):
            return _keeper(worker).room

    async def weigh(self, model: str, offered: Offered, tenant: str) -> Weighed:
        """What the model's engine says to an offer."""
        async with self._models.lend(model) as (_, worker):
            return await _keeper(worker).weigh(offered, tenant)

    async def take(self, model: str, part: Part, tenant: str) -> None:
        """Keep a block for that tenant's requests."""
        async with self._models.lend(model) as (_, worker):
            await _keeper(worker).take(part, tenant)

    def _keepers(self) -> list[WorkerBlocks]:
        workers = self._models.workers()
        return [one.kv_blocks for one in workers if isinstance(one, Keeper)]


class OwnBlocks:
    """`ports.Blocks` of this node, for one tenant's answer."""

    link = 0.0

    def __init__(self, here: BlocksHere, model: str, tenant: str) -> None:
        self._here = here
        self._model = model
        self._tenant = tenant

    def give(self, ticket: str) -> AsyncGenerator[Part, None]:
        """Whoever has the ticket here has it from the answer itself."""
        return self._here.give(ticket, None)

    async def weigh(self, offered: Offered) -> Weighed:
        """As the engine says."""
        return await self._here.weigh(self._model, offered, self._tenant)

    async def take(self, part: Part) -> None:
        """Into the engine's tier in memory."""
        await self._here.take(self._model, part, self._tenant)


def _keeper(worker: Worker) -> WorkerBlocks:
    if isinstance(worker, Keeper):
        return worker.kv_blocks
    raise UnsupportedFeature("This model has no KV blocks to share.")
