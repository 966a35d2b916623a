"""The way to a model's engine, whichever process that is now; requests wait while that changes."""

import asyncio
import time

from ai_assistant.protocol.frames import Abort, Embed, Generate, Order, Tokenize
from ai_assistant.workers.engine_process import EngineProcess


class Line:
    """Orders go in here; what comes back is noted for its moment only."""

    def __init__(self) -> None:
        self.process: EngineProcess | None = None
        self._held: list[Order] | None = None
        self._heard = 0.0
        self.quiet = 0.0
        """When the streams said something for the last time before they stood still, by the
        monotonic clock."""
        self.resumed: float | None = None
        """When they did for the first time since; None: not yet."""
        self.word = asyncio.Event()
        """Set whenever they do."""

    def send(self, order: Order) -> None:
        """To the engine, now or when it is known which one that is."""
        if self._held is not None and self._keep(order):
            return
        if self.process:
            self.process.send(order)

    def _keep(self, order: Order) -> bool:
        """Whether the order is for later only: requests are, and what is given up goes to both."""
        assert self._held is not None
        if isinstance(order, Generate | Embed | Tokenize):
            self._held.append(order)
            return True
        if isinstance(order, Abort):
            others = [one for one in self._held if _request_id(one) != order.request_id]
            known, self._held = len(others) < len(self._held), others
            if known:
                return True
            self._held.append(order)
        return False

    def hold(self) -> None:
        """Keep new requests back."""
        self._held = []

    def let_go(self) -> None:
        """Send them on, to whoever is the engine now."""
        held, self._held = self._held or [], None
        for order in held:
            self.send(order)

    def note_words(self) -> None:
        """The engine has said something to clients."""
        self._heard = time.monotonic()
        self.resumed = self.resumed or self._heard
        self.word.set()

    def note_silence(self) -> None:
        """What was said was the last before the streams stood still."""
        self.quiet, self.resumed = self._heard, None


def _request_id(order: Order) -> str:
    if isinstance(order, Generate | Embed | Tokenize):
        return order.request.request_id
    return ""
