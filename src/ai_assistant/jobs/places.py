"""How many lines are under way at once: as many as keep a model busy, whoever sent them."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable

_LOOK_SECONDS = 0.5
"""A model that has just been loaded has more room than before."""


class Places:
    """Places of each model, given in the order of asking: several batches take turns."""

    def __init__(self, room: Callable[[str], int]) -> None:
        self._room = room
        self._taken: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Event]] = {}

    async def take(self, model: str) -> None:
        """Return with a place, which must be given back."""
        queue = self._waiting.setdefault(model, deque())
        turn = asyncio.Event()
        queue.append(turn)
        try:
            while queue[0] is not turn or self._taken[model] >= self._room(model):
                turn.clear()
                try:
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await turn.wait()
                except TimeoutError:
                    continue
            self._taken[model] += 1
        finally:
            queue.remove(turn)
            self._wake(model)

    def give(self, model: str) -> None:
        """A line is through."""
        self._taken[model] -= 1
        self._wake(model)

    def _wake(self, model: str) -> None:
        queue = self._waiting.get(model)
        if queue:
            queue[0].set()
        elif not self._taken[model]:
            self._waiting.pop(model, None)
            del self._taken[model]
