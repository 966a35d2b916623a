"""Departures of many requests, written together: one anchor and one sync for all that wait."""

import asyncio

from ai_assistant.policy.egress.log import EgressLog
from ai_assistant.policy.egress.record import Record
from ai_assistant.policy.errors import NotRecorded


class Clerk:
    """Takes records on the event loop and writes them in a thread, a batch at a time."""

    def __init__(self, log: EgressLog) -> None:
        self._log = log
        self._waiting: list[tuple[Record, bytes, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    def commit(self, record: Record, body: bytes) -> "asyncio.Future[None]":
        """Done when the record outlives a power cut; it raises `NotRecorded`."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((record, body, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        return done

    async def _write(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._write_all(batch)
        finally:
            self._writing = None

    async def _write_all(self, batch: list[tuple[Record, bytes, asyncio.Future[None]]]) -> None:
        # Said as well where the loop ends in between: who waits must not think it was recorded.
        refusal: Exception | None = NotRecorded("The program ends; nothing was sent.")
        departures = [(record, body) for record, body, _ in batch]
        try:
            await asyncio.to_thread(self._log.commit_all, departures)
            refusal = None
        except Exception as error:  # noqa: BLE001 - each that waits raises it
            refusal = error
        finally:
            for _, _, done in batch:
                _settle(done, refusal)


def _settle(done: "asyncio.Future[None]", refusal: Exception | None) -> None:
    if done.done():  # cancelled with the loop
        return
    if refusal is None:
        done.set_result(None)
    elif isinstance(refusal, NotRecorded):  # one each: tracebacks grow
        done.set_exception(NotRecorded(refusal.message, retry_after=refusal.retry_after))
    else:
        done.set_exception(refusal)
