"""Hands the running answers of a model to another node, by hand or because this one stops."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

from ai_assistant.protocol.errors import InvalidRequest, UnsupportedFeature
from ai_assistant.protocol.moves import Left, MoveResult
from ai_assistant.protocol.worker import Worker
from ai_assistant.scheduler.mover import Loaded


@runtime_checkable
class Leavable(Protocol):
    """A worker whose running answers others can go on with."""

    def hand_on(self, to: str = "") -> None: ...

    async def leave(self, to: str) -> Left: ...

    def stays(self, request_id: str) -> None: ...


def hand_all_on(workers: Iterable[Worker]) -> None:
    """All that runs, to any node: what nobody takes goes on here."""
    for worker in workers:
        if isinstance(worker, Leavable):
            worker.hand_on()


def keep(workers: Iterable[Worker], request_id: str) -> None:
    """Nobody takes this answer."""
    for worker in workers:
        if isinstance(worker, Leavable):
            worker.stays(request_id)


class HandOver:
    """One model's running answers go to the node that the owner names."""

    def __init__(self, loaded: Loaded, nodes: Callable[[str], list[str]]) -> None:
        """`nodes`: the other nodes that answer to a model's name, as the settings call them."""
        self._loaded = loaded
        self._nodes = nodes

    async def hand_over(self, name: str, to: str) -> MoveResult:
        """How it went; raises `AssistantError` where it cannot even be tried."""
        known = self._nodes(name)
        if to not in known:
            raise InvalidRequest(_unknown(name, to, known), param="to")
        begun = time.monotonic()
        async with self._loaded.lend(name) as (model, worker):
            if not isinstance(worker, Leavable):
                raise UnsupportedFeature(f"{model.id} does not run on this machine.")
            left = await asyncio.shield(asyncio.ensure_future(worker.leave(to)))
        return MoveResult(
            model=model.id,
            how="elsewhere",
            seconds=time.monotonic() - begun,
            sequences=left.gone + left.stayed,
            gone=left.gone,
        )


def _unknown(name: str, to: str, known: list[str]) -> str:
    told = f"These do: {', '.join(known)}." if known else "None does."
    return (
        f"{to} is no ai-assistant node in providers.toml that answers to the name {name}. {told} "
        f'Give its model the name: names = ["{name}"].'
    )
