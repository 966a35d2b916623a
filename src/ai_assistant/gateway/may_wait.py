"""`X-May-Wait: 24h`: a request whose provider cannot be reached is stored and sent later."""

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ai_assistant.gateway.desk import BATCHABLE
from ai_assistant.gateway.exchange import Exchange, header
from ai_assistant.gateway.said import in_body
from ai_assistant.gateway.sender import sender_of, write_owner
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.gateway.wire_batches import batch_object
from ai_assistant.jobs.jobs import Jobs, Order
from ai_assistant.jobs.windows import read_span
from ai_assistant.protocol.errors import (
    ProviderError,
    ProviderKeyRefused,
    ProviderModelMissing,
    ProviderOutOfCredit,
)

HEADER = b"x-may-wait"
_NO_USE = (ProviderKeyRefused, ProviderModelMissing, ProviderOutOfCredit)
"""Errors that no waiting mends."""


class MayWait:
    """Answers 202 with a batch of one line where the answer itself cannot be had now."""

    def __init__(self, app: ASGIApp, jobs: Jobs, settings: GatewaySettings) -> None:
        self._app = app
        self._jobs = jobs
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        span = header(scope, HEADER)
        if span is None or scope["method"] != "POST" or scope["path"] not in BATCHABLE:
            await self._app(scope, receive, send)
            return
        read_span(span, "X-May-Wait")
        kept = _Kept(receive)
        try:
            await self._app(scope, kept.receive, send)
        except ProviderError as error:
            if isinstance(error, _NO_USE):
                raise
            body = bytes(kept.body)
            if _streams(body):
                raise  # Nobody waits for a stream until tomorrow.
            await self._store(Exchange(scope, receive, send, self._settings), body, span)

    async def _store(self, exchange: Exchange, body: bytes, span: str) -> None:
        exchange.said = in_body(body)
        sender = sender_of(exchange)
        order = Order(
            tenant=sender.tenant,
            owner=write_owner(sender),
            labels=sender.origin.bounds.labels,
            endpoint=exchange.scope["path"],
            input_file="",
            completion_window=span,
        )
        batch = await self._jobs.defer(order, body)
        shown = batch_object(batch, await self._jobs.progress(batch))
        location = (b"location", f"/v1/batches/{batch.id}".encode())
        await exchange.send_json(msgspec.json.encode(shown), 202, [location])


class _Kept:
    """Remembers the body while it is read."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.body = bytearray()

    async def receive(self) -> Message:
        message = await self._receive()
        self.body += message.get("body", b"")
        return message


class _Body(msgspec.Struct):
    stream: bool | None = None


def _streams(body: bytes) -> bool:
    return bool(msgspec.json.decode(body, type=_Body).stream)
