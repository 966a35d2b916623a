"""The chunks of one answer as they come, and the news that nobody waits for them any more.

The generating iterators run in tasks of their own, so that a client's leaving is seen while an
iterator is silent, and what is ready goes out in one write.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from ai_assistant.gateway.exchange import ClientGone, Exchange
from ai_assistant.gateway.wanted import let_go
from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.protocol.requests import GenerateRequest
from ai_assistant.protocol.routing import Served
from ai_assistant.protocol.worker import Service

_ROOM = 256
"""Chunks that wait for a slow reader before the iterators wait too."""


class Piece(NamedTuple):
    """A chunk of the `request`-th request of this exchange."""

    request: int
    chunk: TokenChunk


class Feed:
    """Answers to one exchange's requests. Whoever opens it closes it."""

    def __init__(
        self, service: Service, requests: Sequence[GenerateRequest], exchange: Exchange
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._service = service
        self._model = requests[0].model
        self._record = exchange.record
        self._ping = exchange.settings.ping_seconds
        self._ready: list[Piece] = []
        self._waiter: asyncio.Future[None] | None = None
        self._space = asyncio.Event()
        self._space.set()
        self._error: Exception | None = None
        self._gone = False
        self._closed = False
        self._silent = False
        self._begun = False
        self._running = len(requests)
        self.served: Served | None = None
        """Who answers, as the latest piece that tells it says."""
        self._tasks = [asyncio.create_task(self._watch(exchange))]
        self._tasks += [asyncio.create_task(self._pump(i, r)) for i, r in enumerate(requests)]

    @property
    def ended(self) -> bool:
        """Nothing more will come, no error either."""
        return not (self._running or self._ready or self._error)

    async def take(self) -> list[Piece]:
        """What has arrived since the last call; nothing after a long silence or at the end.

        Raises `ClientGone`, or the error that ended a request, after what came before it.
        """
        if not self._gone and not self._ready:
            await self._arrival()
        if self._gone:
            raise ClientGone
        if not self._ready and self._error is not None:
            raise self._error
        pieces, self._ready = self._ready, []
        self._space.set()
        return pieces

    async def close(self) -> None:
        """Close the iterators. Whatever was not finished is cancelled."""
        self._closed = True
        self._space.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def _arrival(self) -> None:
        self._silent = False
        self._await_silence()
        try:
            while not (self._ready or self._gone or self._silent or self._error) and self._running:
                self._waiter = self._loop.create_future()
                await self._waiter
        finally:
            self._timer.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _await_silence(self) -> None:
        self._timer = self._loop.call_later(self._ping, self._note_silence)

    def _note_silence(self) -> None:
        if self._begun or not self._is_loading():
            self._silent = True
            self._wake()
        else:  # The status stays open: a 503 may come of it.
            self._await_silence()

    def _is_loading(self) -> bool:
        states = [e.state for e in self._service.status().models if e.model.id == self._model]
        return states[:1] in (["loading"], ["unloaded"])

    async def _watch(self, exchange: Exchange) -> None:
        await exchange.gone()
        self._gone = True
        self._wake()

    async def _pump(self, index: int, request: GenerateRequest) -> None:
        try:
            await self._drain(index, request)
        except Exception as error:  # noqa: BLE001 - `take` raises it again
            self._error = error
        finally:
            self._running -= 1
            self._wake()

    async def _drain(self, index: int, request: GenerateRequest) -> None:
        chunks = self._service.generate(request)
        try:
            async for chunk in chunks:
                if not self._begun:
                    self._begun = True
                    self._record.begin(request)
                if chunk.served is not None:
                    self.served = chunk.served
                self._ready.append(Piece(index, chunk))
                self._wake()
                if self._closed:
                    return
                if len(self._ready) >= _ROOM:
                    self._space.clear()
                    await self._space.wait()
        finally:
            await let_go(chunks)
