"""Writes what was counted, beside the requests: once a second, and at once what money waits for.

What a crash loses is the last second of counts of requests and tokens. Money that has a limit is
on disk before it is spent.
"""

import asyncio
import contextlib
import logging
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ai_assistant.gateway.access.accounts import Accounts
from ai_assistant.gateway.access.calendar import month_of
from ai_assistant.protocol.errors import InvalidRequest, Unavailable
from ai_assistant.store.key_usage import Changes, KeyUsage

log = logging.getLogger(__name__)

WRITE_SECONDS = 1.0


class Keeper:
    """One for the node: `open`, `run` as a task, `close`."""

    def __init__(self, accounts: Accounts, path: Path, node: str) -> None:
        self._accounts = accounts
        self._path = path
        self._node = node
        self._file: KeyUsage | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="key-usage")
        self._wanted = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._failing = self._closed = False

    def open(self) -> None:
        """Go on where the last process ended; raises `InvalidRequest` if nobody can tell where.

        A file is made when there is something to write.
        """
        if not self._path.exists():
            return
        try:
            self._file = KeyUsage(self._path, self._node)
            self._accounts.restore(*self._file.read(month_of(self._accounts.now().day)))
        except (OSError, sqlite3.Error) as error:
            raise InvalidRequest(
                f"What the keys have used cannot be read from {self._path}: {error}. Free the "
                "disk or mend the file; if you move it away, all counts and budgets begin anew."
            ) from error

    async def run(self) -> None:
        """Write from time to time, until it is cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WRITE_SECONDS):
                    await self._wanted.wait()
            self._wanted.clear()
            await self._write()

    async def written(self) -> None:
        """Return when all that was counted so far is on disk; raises `Unavailable`."""
        if self._closed:
            raise _not_written()
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._wanted.set()
        await done

    async def close(self) -> None:
        """Write the rest. `run` must have ended."""
        self._closed = True
        await self._write()
        self._thread.shutdown()
        if self._file:
            self._file.close()

    async def _write(self) -> None:
        """Whatever goes wrong, whoever waits is told."""
        waiting, self._waiting = self._waiting, []
        changes = Changes()
        problem: BaseException | None = OSError("it was cut off")
        try:
            changes = self._accounts.changes()
            writing = asyncio.get_running_loop().run_in_executor(self._thread, self._put, changes)
            try:
                await asyncio.wait([writing])
            finally:
                # A thread that began goes on, whoever is cancelled: its end is waited for.
                await asyncio.wait([writing])
                problem = writing.exception()
        except Exception as error:  # noqa: BLE001 - the next second it is tried again
            problem = error
        finally:
            self._tell(waiting, changes, problem)

    def _put(self, changes: Changes) -> None:
        if changes == Changes():
            return
        if self._file is None:
            self._file = KeyUsage(self._path, self._node)
        self._file.write(changes)

    def _tell(
        self, waiting: list[asyncio.Future[None]], changes: Changes, problem: BaseException | None
    ) -> None:
        if problem:
            self._accounts.put_back(changes)
            if not self._failing:
                usual = isinstance(problem, OSError | sqlite3.Error)
                log.warning(
                    "What keys used is not written to %s: %s",
                    self._path,
                    problem,
                    exc_info=None if usual else problem,
                )
        self._failing = problem is not None
        for one in waiting:
            if one.done():
                continue
            if problem is None:
                one.set_result(None)
            else:
                one.set_exception(_not_written())


def _not_written() -> Unavailable:
    return Unavailable("What is spent cannot be written down, so nothing is spent now.")
