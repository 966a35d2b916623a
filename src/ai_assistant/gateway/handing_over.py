"""POST /admin/models/{id}/hand-over: another node goes on with what a model is answering."""

from collections.abc import Awaitable, Callable

import msgspec
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from ai_assistant.gateway.decoding import decode
from ai_assistant.gateway.exchange import Exchange
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.protocol.moves import MoveResult

HandOver = Callable[[str, str], Awaitable[MoveResult]]
"""(a model, the node as providers.toml calls it) → how it went; raises `AssistantError`."""


class HandOverBody(msgspec.Struct, forbid_unknown_fields=True):
    """What is asked."""

    to: str


_bodies = msgspec.json.Decoder(HandOverBody)


def hand_over_routes(hand_over: HandOver, settings: GatewaySettings) -> list[BaseRoute]:
    """Routes for the app to mount behind its guards."""
    path, endpoint = "/admin/models/{id:path}/hand-over", _HandOver(hand_over, settings)
    return [Route(path, endpoint, methods=["POST"])]


class _HandOver:
    """The endpoint as an ASGI application."""

    def __init__(self, hand_over: HandOver, settings: GatewaySettings) -> None:
        self._hand_over = hand_over
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send, self._settings)
        exchange.caller.must_administer("hand answers to another node")
        body = decode(_bodies, await exchange.body())
        result = await self._hand_over(scope["path_params"]["id"], body.to)
        await exchange.send_object(result)
