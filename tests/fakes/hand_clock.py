"""A clock that a test turns."""

import asyncio
import heapq
from collections.abc import Callable


class HandClock:
    """Implements `jobs.ports.Clock`; whoever sleeps wakes when it is turned far enough."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._now = now
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._count = 0

    def now(self) -> float:
        return self._now

    async def sleep_until(self, at: float) -> None:
        if at <= self._now:
            await asyncio.sleep(0)
            return
        self._count += 1
        event = asyncio.Event()
        heapq.heappush(self._sleepers, (at, self._count, event))
        await event.wait()

    async def turn_to(self, at: float) -> None:
        """Later, moment by moment, so that everyone wakes in time."""
        while self._sleepers and self._sleepers[0][0] <= at:
            moment = self._sleepers[0][0]
            self._now = max(self._now, moment)
            while self._sleepers and self._sleepers[0][0] == moment:
                heapq.heappop(self._sleepers)[2].set()
            await settle()
        self._now = max(self._now, at)
        await settle()


async def settle(rounds: int = 20) -> None:
    """Let everything run that can run, threads included."""
    for _ in range(rounds):
        await asyncio.sleep(0.001)


async def until(true: Callable[[], object]) -> None:
    """Let things run until it is true; fail if it does not become so."""
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - any condition
            await asyncio.sleep(0.002)
