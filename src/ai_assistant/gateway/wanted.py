"""Work whose answer comes at once as a whole, and is dropped when the client leaves."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from ai_assistant.gateway.exchange import ClientGone, Exchange

Result = TypeVar("Result")


async def while_wanted(exchange: Exchange, work: Coroutine[Any, Any, Result]) -> Result:
    """The work's result; it is cancelled if the client leaves. Only after `exchange.body`."""
    task = asyncio.ensure_future(work)
    watch = asyncio.create_task(exchange.gone())
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        task.cancel()
        watch.cancel()
        await asyncio.wait({task, watch})


async def let_go(pieces: AsyncIterator[Any]) -> None:
    """Close an iterator. Some have no `aclose`; generators have it."""
    aclose = getattr(pieces, "aclose", None)
    if aclose is not None:
        await aclose()
