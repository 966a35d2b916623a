"""KV blocks from node to node. POST /admin/kv-blocks: another node offers some, or sends one. POST
/admin/kv-blocks/leaving: it wants those of its own answer, which this node hands on.

Blocks that come in are used in answers: only a key that may change the node may send them, and they
are found by requests of that key alone. `cache.hand_over = false` closes both addresses.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from ai_assistant.gateway.decoding import decode
from ai_assistant.gateway.exchange import Exchange
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.protocol.blocks import (
    BadPart,
    Offered,
    Part,
    PartReader,
    Taken,
    Weighed,
    pack_part,
)
from ai_assistant.protocol.errors import (
    AssistantError,
    InvalidRequest,
    NotFound,
    RequestTooLarge,
)

PATH = "/admin/kv-blocks"
_BINARY = b"application/octet-stream"


class TicketBody(msgspec.Struct, forbid_unknown_fields=True):
    """What a node wants."""

    ticket: str


class Blocks(Protocol):
    """Who has them."""

    def give(self, ticket: str, tenant: str | None) -> AsyncGenerator[Part, None]: ...

    async def room(self, model: str) -> int: ...

    async def weigh(self, model: str, offered: Offered, tenant: str) -> Weighed: ...

    async def take(self, model: str, part: Part, tenant: str) -> None: ...


_bodies = msgspec.json.Decoder(TicketBody)


def kv_block_routes(blocks: Blocks | None, settings: GatewaySettings) -> list[BaseRoute]:
    """Routes for the app to mount behind its guards; without `blocks` both say that there are
    none."""
    if blocks is None:
        return [Route(path, _nothing, methods=["POST"]) for path in (PATH, f"{PATH}/leaving")]
    return [
        Route(PATH, _Take(blocks, settings), methods=["POST"]),
        Route(f"{PATH}/leaving", _Give(blocks, settings), methods=["POST"]),
    ]


async def _nothing(_: Request) -> Response:
    raise NotFound(
        "This node neither gives nor takes KV blocks: cache.hand_over is false in its settings."
    )


class _Take:
    """The endpoint as an ASGI application."""

    def __init__(self, blocks: Blocks, settings: GatewaySettings) -> None:
        self._blocks = blocks
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send, self._settings)
        exchange.caller.must_administer("put KV blocks into this node's cache")
        part = await self._part(exchange)
        tenant = exchange.caller.tenant
        if part.head.block is not None:
            await self._blocks.take(part.head.model, part, tenant)
            await exchange.send_object(Taken())
        elif part.head.offered is not None:
            weighed = await self._blocks.weigh(part.head.model, part.head.offered, tenant)
            await exchange.send_object(weighed)
        else:
            raise InvalidRequest("This is neither an offer of KV blocks nor a block.")

    async def _part(self, exchange: Exchange) -> Part:
        """The body. What the model has no room for is refused before it has come."""
        reader, found = PartReader(), list[Part]()
        room: int | None = None
        try:
            async for data in exchange.parts():
                found += reader.feed(data)
                if room is None and reader.head is not None and not found:
                    room = await self._blocks.room(reader.head.model)
                if reader.announced > (room or 0):
                    raise RequestTooLarge("The model has no room for so large a KV block.")
        except BadPart as error:
            raise InvalidRequest(f"This KV block cannot be used: {error}.") from None
        if len(found) != 1 or not reader.between:
            raise InvalidRequest("This KV block cannot be used: it is not whole.")
        return found[0]


class _Give:
    """The endpoint as an ASGI application."""

    def __init__(self, blocks: Blocks, settings: GatewaySettings) -> None:
        self._blocks = blocks
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send, self._settings)
        ticket = decode(_bodies, await exchange.body()).ticket
        parts = self._blocks.give(ticket, exchange.caller.tenant)
        gone = asyncio.create_task(exchange.gone())
        try:
            async with contextlib.aclosing(parts):
                async for part in parts:
                    if gone.done():
                        return
                    if not exchange.started:
                        await exchange.start_stream(_BINARY)
                    await exchange.send_events(pack_part(part))
        except AssistantError:  # the answer has ended: what was sent can be used
            if not exchange.started:
                raise
        finally:
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
        if not exchange.started:
            await exchange.start_stream(_BINARY)
        await exchange.send_events(b"", last=True)
