"""GET and PUT /admin/power: the node's power mode, and what its sensors say."""

from collections.abc import Awaitable, Callable

import msgspec
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from ai_assistant.gateway.decoding import decode
from ai_assistant.gateway.exchange import Exchange
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.protocol.power import PowerStatus

Look = Callable[[], Awaitable[PowerStatus]]
Change = Callable[[str], Awaitable[None]]
"""Raises `InvalidRequest` for what is no mode, or none that can be kept here."""


class PowerBody(msgspec.Struct, forbid_unknown_fields=True):
    """What is asked."""

    mode: str


_bodies = msgspec.json.Decoder(PowerBody)


def power_routes(look: Look, change: Change, settings: GatewaySettings) -> list[BaseRoute]:
    """Routes for the app to mount behind its guards."""
    endpoint = _Power(look, change, settings)
    return [Route("/admin/power", endpoint, methods=["GET", "PUT"])]


class _Power:
    """The endpoint as an ASGI application."""

    def __init__(self, look: Look, change: Change, settings: GatewaySettings) -> None:
        self._look = look
        self._change = change
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send, self._settings)
        if scope["method"] == "PUT":
            exchange.caller.must_administer("change the power of the node")
            await self._change(decode(_bodies, await exchange.body()).mode)
        await exchange.send_object(await self._look())
