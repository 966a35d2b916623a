"""Results on their way to the disk: those that come together are kept in one transaction."""

import asyncio
import contextlib
from collections.abc import Callable

from ai_assistant.jobs.books import Books
from ai_assistant.jobs.errors import JobsUnavailable
from ai_assistant.jobs.results import Result

_AGAIN_SECONDS = 2.0


class Record:
    """The results of one batch. A result counts when it is on the disk."""

    def __init__(self, books: Books, batch: str, on_cancel: Callable[[], None]) -> None:
        """`on_cancel`: another node has cancelled it, as a write finds out."""
        self._books = books
        self._batch = batch
        self._on_cancel = on_cancel
        self._fresh: list[Result] = []
        self._wanted = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self.trouble: JobsUnavailable | None = None
        """Why nothing can be kept now. Whoever makes results should stop meanwhile."""

    def put(self, result: Result) -> None:
        """Keep this soon."""
        self._fresh.append(result)
        self._settled.clear()
        self._wanted.set()

    async def keep_writing(self) -> None:
        """Write until cancelled; while the disk is full, try again and lose nothing."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._write()
            except JobsUnavailable as trouble:
                self.trouble = trouble
                self._wanted.set()
                await asyncio.sleep(_AGAIN_SECONDS)

    async def settled(self) -> None:
        """Return when everything that was put is on the disk."""
        await self._settled.wait()

    async def last_try(self) -> None:
        """Once more, when nobody writes any more. What cannot be kept is done again later."""
        with contextlib.suppress(JobsUnavailable):
            await self._write()

    async def _write(self) -> None:
        batch = self._fresh[:]
        if batch:
            after = await asyncio.to_thread(self._books.add_results, self._batch, batch)
            del self._fresh[: len(batch)]
            if after.status == "cancelling":
                self._on_cancel()
        self.trouble = None
        if not self._fresh:
            self._settled.set()
