"""Ends loads that nobody waits for any more. Clients come back for a model that is being loaded, so
it goes on for a while without them.
"""

import asyncio
from collections.abc import Awaitable, Callable


class Abandoning:
    """`wasted` tells when somebody last waited for a model's load, None where it is no waste."""

    def __init__(
        self,
        seconds: float,
        wasted: Callable[[str], float | None],
        unload: Callable[[str], Awaitable[bool]],
    ) -> None:
        """0 seconds: every load goes on to its end."""
        self._seconds = seconds
        self._wasted = wasted
        self._unload = unload
        self._tasks: set[asyncio.Task[None]] = set()

    def consider(self, name: str) -> None:
        """Somebody does not wait any more."""
        since = self._wasted(name)
        if self._seconds and since is not None:
            task = asyncio.create_task(self._end(name, since))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _end(self, name: str, since: float) -> None:
        await asyncio.sleep(self._seconds)
        if self._wasted(name) == since:
            await self._unload(name)
