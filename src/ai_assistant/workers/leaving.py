"""Running answers are offered to another node; whoever takes one closes it here.

The offer goes down the answer's own stream, so that it stands behind what was said before. Whoever
reads the stream looks for a taker while it reads on, and says so if there is none.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.protocol.moves import Left
from ai_assistant.protocol.requests import GenerateRequest

Put = Callable[[str, TokenChunk], None]
"""(a request's id, a piece for whoever reads its answer)"""


class Leaving:
    """The answers of one worker that somebody else could go on with."""

    def __init__(self, put: Put, *, with_blocks: bool = True) -> None:
        """`with_blocks`: their KV blocks may be had too."""
        self._put = put
        self._with_blocks = with_blocks
        self._running: dict[str, asyncio.Future[bool] | None] = {}
        """Of those that are offered, whether they have gone."""
        self._tenants: dict[str, str] = {}
        self._tickets: dict[str, str] = {}
        """For which answer's KV blocks each one is."""

    async def watched(
        self, request: GenerateRequest, pieces: AsyncIterator[TokenChunk]
    ) -> AsyncGenerator[TokenChunk, None]:
        """The pieces; what becomes of offers is noted."""
        request_id = request.request_id
        self._running[request_id] = None
        self._tenants[request_id] = request.tenant
        ended = False
        try:
            async for chunk in pieces:
                ended = chunk.usage is not None
                yield chunk
        finally:
            self._settle(request_id, gone=not ended)
            del self._running[request_id], self._tenants[request_id]
            await pieces.aclose()  # type: ignore[attr-defined]

    def offer(self, to: str = "") -> list["asyncio.Future[bool]"]:
        """Offer all that runs to the node of that name, empty: to any; whether each one goes."""
        offered: list[asyncio.Future[bool]] = []
        for request_id, earlier in self._running.items():
            if earlier is None or earlier.done():
                future = asyncio.get_running_loop().create_future()
                self._running[request_id] = future
                self._put(request_id, TokenChunk(leaving=to, ticket=self._ticket(request_id)))
                offered.append(future)
        return offered

    def _ticket(self, request_id: str) -> str:
        """For its KV blocks; empty: they stay."""
        if not self._with_blocks:
            return ""
        ticket = secrets.token_hex(16)
        self._tickets[ticket] = request_id
        return ticket

    def stays(self, request_id: str) -> None:
        """Nobody takes it."""
        self._settle(request_id, gone=False)

    def redeem(self, ticket: str, tenant: str | None) -> str | None:
        """The request whose answer's blocks may be had for that ticket, once; None: none is. With a
        `tenant` only where it is that one's own."""
        request_id = self._tickets.get(ticket)
        if request_id is None or tenant not in (None, self._tenants.get(request_id)):
            return None
        del self._tickets[ticket]
        return request_id

    def knows(self, ticket: str) -> bool:
        """Whether the ticket is for one of these."""
        return ticket in self._tickets

    @property
    def awaited(self) -> bool:
        """Somebody may still come with a ticket."""
        return bool(self._tickets)

    def _settle(self, request_id: str, *, gone: bool) -> None:
        self._tickets = {one: owner for one, owner in self._tickets.items() if owner != request_id}
        future = self._running.get(request_id)
        if future and not future.done():
            future.set_result(gone)


async def left(offered: list["asyncio.Future[bool]"], others: int) -> Left:
    """How it went, once that is known of each; `others` could not be offered."""
    went = await asyncio.gather(*offered)
    return Left(gone=sum(went), stayed=len(went) - sum(went) + others)
