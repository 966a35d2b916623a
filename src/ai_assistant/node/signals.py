"""Signals that end a node: the first one drains, the second one is in a hurry."""

import asyncio
import signal
from collections.abc import Callable


class Signals:
    """What has been heard."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()

    def listen(self) -> None:
        """From now on, in the running loop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(number, self._hear)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda _number, _frame: _wake(loop, self._hear))

    def _hear(self) -> None:
        (self.hurry if self.stop.is_set() else self.stop).set()


def _wake(loop: asyncio.AbstractEventLoop, heard: Callable[[], None]) -> None:
    loop.call_soon_threadsafe(heard)
