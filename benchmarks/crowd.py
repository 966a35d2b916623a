"""Many clients that ask one server again and again, and what each answer took."""

import asyncio
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from ai_assistant.gateway.server import new_loop

END = b"0\r\n\r\n"
DONE = b"data: [DONE]"


@dataclass
class Load:
    """What a crowd saw."""

    seconds: float = 0.0
    first: list[float] = field(default_factory=list)
    """Milliseconds to the first word of each answer."""
    whole: list[float] = field(default_factory=list)
    """Milliseconds to its end."""
    wrong: int = 0
    """Answers that were not what they should have been."""

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.whole) / self.seconds

    def median(self) -> float:
        """Of whole answers, in milliseconds."""
        return statistics.median(self.whole)

    def median_first(self) -> float:
        """Of first words, in milliseconds."""
        return statistics.median(self.first)


class _Client(asyncio.Protocol):
    """One connection that asks as long as there is something to ask."""

    def __init__(self, crowd: "_Crowd") -> None:
        self._crowd = crowd
        self._pieces: list[bytes] = []
        self._first = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def _ask(self) -> None:
        if self._crowd.take():
            self._pieces.clear()
            self._first = 0.0
            self._began = time.perf_counter()
            self._transport.write(self._crowd.request)
        else:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._pieces.append(data)
        if not self._first and self._crowd.word in data:
            self._first = time.perf_counter()
        if data.endswith(END):
            now = time.perf_counter()
            self._crowd.note(b"".join(self._pieces), self._began, self._first or now, now)
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.left()


class _Crowd:
    def __init__(
        self, request: bytes, count: int, clients: int, word: bytes, words: int,
        every: Callable[[int], None] | None,
    ) -> None:  # fmt: skip
        self.request = request
        self.word = word
        self.load = Load()
        self.gone = asyncio.Event()
        self._left_to_ask = count
        self._clients = clients
        self._words = words
        self._every = every

    def take(self) -> bool:
        self._left_to_ask -= 1
        return self._left_to_ask >= 0

    def note(self, answer: bytes, began: float, first: float, now: float) -> None:
        load = self.load
        load.first.append(1000 * (first - began))
        load.whole.append(1000 * (now - began))
        load.wrong += answer.count(self.word) != self._words or DONE not in answer
        if self._every:
            self._every(len(load.whole))

    def left(self) -> None:
        self._clients -= 1
        if not self._clients:
            self.gone.set()


def crowd(
    port: int, request: bytes, count: int, *, clients: int, word: bytes, words: int,
    every: Callable[[int], None] | None = None,
) -> Load:  # fmt: skip
    """`count` answers to `clients` connections; `every` hears how many there are so far.

    An answer is right that has `word` so many times and a proper end. Raises `RuntimeError` if a
    connection was lost before its answer was whole.
    """

    async def run() -> Load:
        asked = _Crowd(request, count, clients, word, words, every)
        loop = asyncio.get_running_loop()
        began = time.perf_counter()
        for _ in range(clients):
            await loop.create_connection(lambda: _Client(asked), "127.0.0.1", port)
        async with asyncio.timeout(600):
            await asked.gone.wait()
        asked.load.seconds = time.perf_counter() - began
        if len(asked.load.whole) != count:
            raise RuntimeError(f"{count - len(asked.load.whole)} answers of {count} were lost")
        return asked.load

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(run())
