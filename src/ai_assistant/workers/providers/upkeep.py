"""What goes on beside the requests while a node runs."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from ai_assistant.policy.gate import Gate
from ai_assistant.workers.providers.fleet import Fleet
from ai_assistant.workers.providers.peers import Peers


@contextlib.asynccontextmanager
async def kept_up(fleet: Fleet, gate: Gate) -> AsyncGenerator[None]:
    """As long as it lasts, what was measured is kept and other nodes are looked at."""
    peers = Peers(fleet.workers, gate)
    peers.start()
    keeping = asyncio.create_task(fleet.keep_records())
    try:
        yield
    finally:
        keeping.cancel()
        await peers.close()
