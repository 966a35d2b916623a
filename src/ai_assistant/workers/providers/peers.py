"""Asks other ai-assistant nodes how busy they are, while somebody wants to know.

Nothing of a request is in it, and yet it leaves this machine: each look passes the gate and is in
the egress log. Where the rules keep requests without labels here, nobody is asked.
"""

import asyncio
import itertools
import secrets
from collections.abc import Sequence

from ai_assistant.policy.gate import Gate
from ai_assistant.policy.labels import destination_of
from ai_assistant.policy.passage import without_text
from ai_assistant.protocol.errors import AssistantError
from ai_assistant.workers.remote.worker import RemoteWorker

SECONDS = 2.0
"""Between two looks at a node."""
_REST_SECONDS = 60.0
"""The same at one that did not answer, or that the rules keep us from."""


class Peers:
    """Looks at nodes in turns. Whoever starts it closes it."""

    def __init__(
        self, workers: Sequence[RemoteWorker], gate: Gate, *, seconds: float = SECONDS
    ) -> None:
        """`workers` of all kinds; those of other nodes are looked at."""
        nodes = [one for one in workers if one.offer.kind == "ai-assistant"]
        found = itertools.groupby(nodes, key=lambda one: one.offer.provider)
        self._nodes = {name: list(group) for name, group in found}
        self._gate = gate
        self._seconds = seconds
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to look whenever facts are wanted."""
        self._tasks = [asyncio.create_task(self._watch(group)) for group in self._nodes.values()]

    async def close(self) -> None:
        """Look no more."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _watch(self, workers: list[RemoteWorker]) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            if any(worker.is_wanted() for worker in workers):
                try:
                    await self.look(workers)
                except AssistantError:  # routing goes on without it, and requests say why
                    await asyncio.sleep(_REST_SECONDS)

    async def look(self, workers: list[RemoteWorker]) -> None:
        """Ask one node, for all of its models; raises `AssistantError`."""
        first = workers[0]
        identity = f"status-{secrets.token_hex(6)}"
        async with without_text(self._gate, destination_of(first.offer), identity):
            seen = await first.look(identity)
        for worker in workers:
            worker.note_seen(seen)
