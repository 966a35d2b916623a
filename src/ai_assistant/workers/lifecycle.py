"""Where a model is in its life: unloaded, loading, ready or failed, and why."""

import asyncio
import time

from ai_assistant.protocol.errors import AssistantError, EngineDied, ShuttingDown
from ai_assistant.protocol.status import EngineStatus, ModelState


class Lifecycle:
    """The state, and what is told of it; `settled` waits for the end of a load."""

    def __init__(self) -> None:
        self.state: ModelState = "unloaded"
        self.error: AssistantError | None = None
        """What ended it; None: nothing, or it was ended on purpose."""
        self.engine: EngineStatus | None = None
        """What the engine said of itself last."""
        self.progress = 0.0
        self._began = 0.0
        self._settled = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Requests are served."""
        return self.state == "ready"

    def begin_loading(self) -> None:
        """Whoever waits for it to be ready waits from now on."""
        self._settled.clear()
        self.state = "loading"
        self.progress, self._began = 0.0, time.monotonic()

    def become_ready(self, engine: EngineStatus) -> None:
        """It is loaded."""
        self.state, self.engine = "ready", engine
        self._settled.set()

    def fail(self, error: AssistantError) -> None:
        """It cannot be."""
        self.error = error
        self.end()

    def end(self) -> None:
        """No engine runs any more."""
        self.state = "failed" if self.error else "unloaded"
        self._settled.set()

    async def settled(self) -> None:
        """Return when it is ready; raise the reason if that cannot be."""
        await self._settled.wait()
        if not self.ready:
            raise self.error or ShuttingDown("The model is being unloaded; try again.")

    def demand_ready(self) -> None:
        """Raise why no request can be taken, unless one can."""
        if not self.ready:
            raise self.error or EngineDied("The engine is starting again.", retry_after=2)

    def eta(self) -> float | None:
        """Seconds until it is loaded, by what has been loaded so far."""
        if self.state != "loading" or self.progress <= 0:
            return None
        elapsed = time.monotonic() - self._began
        return elapsed * (1 - self.progress) / self.progress
