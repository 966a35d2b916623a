"""POST /admin/models/{id}/move: lay a model out anew while it answers; /release: let it go again.

The answer is a line of JSON for each step, and the result or the error as the last one. What was
moved by hand stays so, until it is released: then the node may lay it out anew by itself.
"""

from collections.abc import AsyncGenerator
from typing import Any, Protocol

import msgspec
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from ai_assistant.gateway.decoding import decode
from ai_assistant.gateway.error_shapes import shaped_body
from ai_assistant.gateway.exchange import Exchange
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.protocol.errors import AssistantError
from ai_assistant.protocol.moves import How, MoveResult, MoveStep

_LINES = b"application/x-ndjson"


class MoveBody(msgspec.Struct, forbid_unknown_fields=True):
    """What is asked."""

    plan: dict[str, Any]
    how: How = "auto"


class Mover(Protocol):
    """Who can do it."""

    def move(
        self, name: str, changes: dict[str, Any], how: How = "auto"
    ) -> AsyncGenerator[MoveStep | MoveResult, None]: ...

    def release(self, name: str) -> None: ...


_bodies = msgspec.json.Decoder(MoveBody)


def move_routes(mover: Mover, settings: GatewaySettings) -> list[BaseRoute]:
    """Routes for the app to mount behind its guards."""
    move, release = _Move(mover, settings), _Release(mover, settings)
    return [
        Route("/admin/models/{id:path}/move", move, methods=["POST"]),
        Route("/admin/models/{id:path}/release", release, methods=["POST"]),
    ]


class _Move:
    """The endpoint as an ASGI application."""

    def __init__(self, mover: Mover, settings: GatewaySettings) -> None:
        self._mover = mover
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send, self._settings)
        exchange.caller.must_administer("move models")
        body = decode(_bodies, await exchange.body())
        model = scope["path_params"]["id"]
        steps = self._mover.move(model, body.plan, body.how)
        try:
            async for step in steps:
                if not exchange.started:
                    await exchange.start_stream(_LINES)
                name = "result" if isinstance(step, MoveResult) else "step"
                await exchange.send_events(msgspec.json.encode({name: step}) + b"\n")
        except AssistantError as error:
            if not exchange.started:
                raise
            line = shaped_body(error, scope["path"], exchange.request_id)
            await exchange.send_events(line + b"\n")
        finally:
            await steps.aclose()
        await exchange.send_events(b"", last=True)


class _Release:
    """The endpoint as an ASGI application."""

    def __init__(self, mover: Mover, settings: GatewaySettings) -> None:
        self._mover = mover
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send, self._settings)
        exchange.caller.must_administer("move models")
        model = scope["path_params"]["id"]
        self._mover.release(model)
        await exchange.send_object({"model": model, "held": False})
