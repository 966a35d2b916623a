"""KV blocks of the engine on this machine: given out with an answer that leaves, taken in with one
that comes."""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncGenerator

from msgspec import structs

from ai_assistant.protocol.blocks import (
    BlocksAsk,
    Head,
    Offered,
    Part,
    Refused,
    SaveBlock,
    TakeBlock,
    Taken,
    TellBlocks,
    WeighBlocks,
    Weighed,
)
from ai_assistant.protocol.errors import EngineError, NotFound, UnsupportedFeature
from ai_assistant.protocol.frames import AskBlocks
from ai_assistant.workers.answers import Answers
from ai_assistant.workers.leaving import Leaving
from ai_assistant.workers.plan_in_use import PlanInUse

_Said = Offered | Part | Weighed | Taken
AHEAD = 2
"""Blocks that are copied and packed before they are wanted."""


class LocalBlocks:
    """Those of one worker. What its engine refuses is raised as `UnsupportedFeature`."""

    def __init__(self, answers: Answers, leaving: Leaving, in_use: PlanInUse) -> None:
        self._answers = answers
        self._leaving = leaving
        self._in_use = in_use
        self._numbers = itertools.count()

    @property
    def awaited(self) -> bool:
        """Somebody may still come for some."""
        return self._leaving.awaited

    @property
    def room(self) -> int:
        """Bytes that the tier in memory may have."""
        return 0 if self._in_use.plan.embedding else self._in_use.plan.warm_bytes

    def knows(self, ticket: str) -> bool:
        """Whether the ticket is for one of its answers."""
        return self._leaving.knows(ticket)

    async def give(self, ticket: str, tenant: str | None) -> AsyncGenerator[Part, None]:
        """The blocks for a ticket: first what they stand for, then one after the other; nothing
        where none is finished. Raises `NotFound` where the ticket is not that tenant's."""
        request_id = self._leaving.redeem(ticket, tenant)
        if request_id is None:
            raise NotFound("No answer here is left for that ticket.")
        # Asked together, they are answered between the same two steps.
        telling = asyncio.create_task(
            self._answers.about_blocks(self._order(TellBlocks(request_id)))
        )
        saving = deque([self._saving(SaveBlock(request_id, 0))])
        try:
            (offered,) = await telling
            if not isinstance(offered, Offered):
                return
            yield Part(Head(offered=offered))
            tokens, asked = len(offered.cuts), 1
            while saving:
                while asked < offered.blocks and len(saving) <= AHEAD:
                    saving.append(self._saving(SaveBlock(request_id, asked, tokens)))
                    asked += 1
                yield _joined(await saving.popleft())
        finally:
            for task in (telling, *saving):
                task.cancel()
            await asyncio.gather(telling, *saving, return_exceptions=True)

    def _saving(self, ask: SaveBlock) -> "asyncio.Task[list[_Said]]":
        return asyncio.create_task(self._ask(ask))

    async def weigh(self, offered: Offered, tenant: str) -> Weighed:
        """What the engine says to an offer."""
        (said,) = await self._ask(WeighBlocks(offered, tenant))
        if isinstance(said, Weighed):
            return said
        raise EngineError("The engine gave a wrong answer.")

    async def take(self, part: Part, tenant: str) -> None:
        """Give it a block; it is in the tier in memory then."""
        (said,) = await self._ask(TakeBlock(part, tenant))
        if not isinstance(said, Taken):
            raise EngineError("The engine gave a wrong answer.")

    async def _ask(self, ask: BlocksAsk) -> list[_Said]:
        if self._in_use.plan.embedding:
            raise UnsupportedFeature("This model gives vectors: it has no KV blocks.")
        found: list[_Said] = []
        for said in await self._answers.about_blocks(self._order(ask)):
            if isinstance(said, Refused):
                raise UnsupportedFeature(f"These KV blocks are not used: {said.why}.")
            found.append(said)
        return found

    def _order(self, ask: BlocksAsk) -> AskBlocks:
        return AskBlocks(f"blocks-{next(self._numbers)}", ask)


def _joined(slices: list[_Said]) -> Part:
    parts = [one for one in slices if isinstance(one, Part)]
    return structs.replace(parts[0], payload=b"".join(one.payload for one in parts))
