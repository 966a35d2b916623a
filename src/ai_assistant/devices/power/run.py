"""Lets a keeper look now and then, and hands what it says to the engines."""

import asyncio
from collections.abc import Callable
from time import monotonic

from ai_assistant.devices.power.keeper import IDLE, Keeper
from ai_assistant.protocol.power import Restraint


async def watch(
    keeper: Keeper, tokens: Callable[[], int], tell: Callable[[Restraint], None]
) -> None:
    """For ever. `tokens` were written so far; `tell` is called in this loop's thread."""
    while True:
        if keeper.interval is not None:
            tell(await asyncio.to_thread(keeper.tick, monotonic(), tokens()))
        await asyncio.sleep(keeper.interval or IDLE)


async def change_mode(keeper: Keeper, mode: str, tell: Callable[[Restraint], None]) -> None:
    """Use another mode from now on. Raises `InvalidRequest`."""
    await asyncio.to_thread(keeper.set_mode, mode)
    tell(keeper.restraint)
