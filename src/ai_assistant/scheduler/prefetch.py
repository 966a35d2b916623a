"""The model that will probably be wanted next is read into free memory while nobody asks anything.

Reading is done by a process of the lowest priority; it ends as soon as somebody wants something.
"""

import asyncio
import contextlib
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol

import msgspec

from ai_assistant.protocol.status import ModelInfo
from ai_assistant.scheduler.easing import Loaded

LOOK_SECONDS = 2.0
QUIET_SECONDS = 20.0
"""Without a request before anything is read."""
AGAIN_SECONDS = 900.0
"""After which a model that was read is looked at again: others may have pushed it out."""
RESERVE = 0.1
"""Share of the memory that stays free."""
REMEMBERED = 200
"""Changes from one model to another."""


class Candidate(msgspec.Struct, frozen=True):
    """A model that is not in memory."""

    id: str
    bytes: int


def next_model(history: Sequence[str], candidates: Sequence[Candidate], room: int) -> str | None:
    """Which model to read: the one that most often followed the one in use, of equals the one used
    last. A model that nobody asked for, or that does not fit into free memory, is not read."""
    if not history:
        return None
    now = history[-1]
    followed: dict[str, int] = {}
    for before, after in pairwise(history):
        if before == now:
            followed[after] = followed.get(after, 0) + 1
    known = {name: place for place, name in enumerate(history)}
    fitting = [one for one in candidates if one.id in known and one.bytes <= room]
    if not fitting:
        return None
    return max(fitting, key=lambda one: (followed.get(one.id, 0), known[one.id])).id


class Models(Protocol):
    """The scheduler, as far as this is concerned."""

    def models(self) -> list[ModelInfo]: ...

    def loaded(self) -> list[Loaded]: ...


class Memory(Protocol):
    """What is free, in bytes: of all, and unused."""

    def __call__(self) -> tuple[int, int]: ...


class Prefetcher:
    """The loop: one file at a time."""

    def __init__(
        self,
        models: Models,
        memory: Memory,
        command: Callable[[str], Sequence[str]],
        *,
        quiet_seconds: float = QUIET_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`command` reads a file at idle priority."""
        self._models = models
        self._memory = memory
        self._command = command
        self._quiet_seconds = quiet_seconds
        self._clock = clock
        self._history: list[str] = []
        self._used_at = clock()
        self._read_at: dict[str, float] = {}
        self._process: Process | None = None
        self.reading: str | None = None

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                await self.look()
        finally:
            self._stop()

    async def look(self) -> None:
        """Note who is used; begin or end reading."""
        loaded = self._models.loaded()
        self._note(loaded)
        if self._busy(loaded):
            self._used_at = self._clock()
            self._stop()
        elif self._process is None or self._process.returncode is not None:
            self.reading = None
            if self._clock() - self._used_at >= self._quiet_seconds:
                await self._begin(loaded)

    def _note(self, loaded: list[Loaded]) -> None:
        used = [one for one in loaded if one.in_use or one.last_used]
        if used:
            latest = max(used, key=lambda one: (one.in_use > 0, one.last_used)).id
            if self._history[-1:] != [latest]:
                self._history = [*self._history, latest][-REMEMBERED:]

    def _busy(self, loaded: list[Loaded]) -> bool:
        return any(one.in_use or one.worker.status().state == "loading" for one in loaded)

    async def _begin(self, loaded: list[Loaded]) -> None:
        here = {one.id for one in loaded}
        now = self._clock()
        fresh = {name for name, at in self._read_at.items() if now - at < AGAIN_SECONDS}
        paths = {one.id: one for one in self._models.models()}
        candidates = [
            Candidate(one.id, one.size_bytes)
            for one in paths.values()
            if one.id not in here and one.id not in fresh
        ]
        total, unused = self._memory()
        wanted = next_model(self._history, candidates, unused - int(total * RESERVE))
        if wanted:
            self._read_at[wanted] = now
            self.reading = wanted
            with contextlib.suppress(OSError):  # no room for a process: another time
                self._process = await asyncio.create_subprocess_exec(
                    *self._command(paths[wanted].path),
                    stdin=DEVNULL,
                    stdout=DEVNULL,
                    stderr=DEVNULL,
                )

    def _stop(self) -> None:
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            if self.reading:
                self._read_at.pop(self.reading, None)
        self.reading = None
