"""Reads one part ahead: a block is packed while the one before it is on its way."""

import asyncio
from collections.abc import AsyncGenerator

from ai_assistant.protocol.blocks import Part


class Ahead:
    """Begins to read at once. Close it when no more is wanted."""

    def __init__(self, parts: AsyncGenerator[Part, None]) -> None:
        self._parts = parts
        self._coming = self._begin()

    async def next(self) -> Part | None:
        """The next part, None after the last one; raises what the source does. A call that is
        cancelled has lost nothing."""
        part = await asyncio.shield(self._coming)
        if part is not None:
            self._coming = self._begin()
        return part

    async def aclose(self) -> None:
        """Read no more."""
        self._coming.cancel()
        await asyncio.gather(self._coming, return_exceptions=True)
        await self._parts.aclose()

    def _begin(self) -> "asyncio.Task[Part | None]":
        return asyncio.create_task(self._next())

    async def _next(self) -> Part | None:
        return await anext(self._parts, None)
