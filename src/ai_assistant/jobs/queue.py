"""When the durable queue runs: from the first batch until none is left."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Coroutine
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ai_assistant.jobs.errors import JobsUnavailable
from ai_assistant.protocol.errors import ShuttingDown

if TYPE_CHECKING:
    from ai_assistant.jobs.durable import Durable
    from ai_assistant.jobs.room import Room

_log = logging.getLogger(__name__)

Value = TypeVar("Value")
Opened = Callable[[], Coroutine[Any, Any, "Room"]]

_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0


class Queue:
    """Batches on their way to the stages. On the node's loop."""

    def __init__(self, folder: Path, opened: Opened, *, idle_seconds: float) -> None:
        self._opened = opened
        self._idle_seconds = idle_seconds
        place = sha256(str(folder.absolute()).encode()).hexdigest()[:8]
        # This node's name in the queue: the same after a restart.
        self._executor = f"{socket.gethostname()}-{place}"
        self._changing = asyncio.Lock()
        self._durable: Durable | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False

    def run(self, name: str) -> None:
        """Have that batch run; returns at once. A batch that runs already is left alone."""
        self._in_background(self._run(name))

    def run_all(self) -> None:
        """The same with every batch that is not finished."""
        self._in_background(self._run_all())

    async def stop(self) -> None:
        """End what runs; it goes on at the next start."""
        self._stopped = True
        async with self._changing:  # A queue that is being opened must be opened to be closed.
            await self._close()
        for task in list(self._tasks):
            task.cancel()

    async def _run_all(self) -> None:
        """Also what was accepted and never reached the queue."""
        room = await _patiently(self._opened)
        for name in await _patiently(lambda: asyncio.to_thread(room.books.open_batches)):
            await self._run(name)

    async def _run(self, name: str) -> None:
        await _patiently(lambda: self._enqueue(name))

    async def _enqueue(self, name: str) -> None:
        room = await self._opened()
        async with self._changing:
            if self._durable is None and not self._stopped:
                self._durable = await self._launched(room)
            if self._durable is not None:
                await asyncio.to_thread(self._durable.submit, name)

    async def _launched(self, room: "Room") -> "Durable":
        loop = asyncio.get_running_loop()

        def launch() -> "Durable":
            from ai_assistant.jobs.durable import Durable

            return Durable(room.url, self._executor, room.stages, loop)

        durable = await asyncio.to_thread(launch)
        self._in_background(self._look_after(durable, room))
        return durable

    async def _look_after(self, durable: "Durable", room: "Room") -> None:
        """Close a queue that nobody uses: it costs a hundredth of a core.

        A run that died, as when the queue's own database failed, is begun again.
        """
        dead: set[str] = set()
        while True:
            await asyncio.sleep(self._idle_seconds)
            async with self._changing:
                if self._durable is not durable:
                    return
                try:
                    unfinished = await asyncio.to_thread(room.books.open_batches)
                    if not unfinished:
                        await self._close()
                        return
                    dead = await asyncio.to_thread(_revive, durable, unfinished, dead)
                except Exception as error:  # noqa: BLE001 - the database may be away for a while
                    _log.warning("The queue of jobs cannot be looked after: %s", error)

    async def _close(self) -> None:
        durable, self._durable = self._durable, None
        if durable is not None:
            await asyncio.to_thread(durable.close)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        if self._stopped:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(_until_shutdown(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _revive(durable: "Durable", unfinished: list[str], dead: set[str]) -> set[str]:
    """Begin again what was dead at the last look too; gives what is dead now."""
    still = {name for name in unfinished if durable.is_dead(name)}
    for name in unfinished:
        # One that was alive at the last look, or is about to begin, gets a look more.
        durable.submit(name, again=name in still & dead)
    return still - dead


async def _until_shutdown(work: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(ShuttingDown):
        await work


async def _patiently(call: Callable[[], Coroutine[Any, Any, Value]]) -> Value:
    """What was accepted must run: try until it does."""
    wait, said = _FIRST_WAIT, ""
    while True:
        try:
            return await call()
        except JobsUnavailable as error:
            if error.message != said:
                _log.warning("%s Trying again.", error.message)
            said = error.message
            await asyncio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT)
