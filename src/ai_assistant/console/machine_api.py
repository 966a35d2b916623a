"""The machine as the console draws it: `GET /console/machine`."""

import asyncio
from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ai_assistant.devices.profile import Profile

Look = Callable[[], Profile]
"""Reads the machine; it may take a second, and is called in a thread."""


def machine_routes(look: Look) -> list[BaseRoute]:
    """One address; it shows what is there and measures nothing."""

    async def machine(_request: Request) -> Response:
        profile = await asyncio.to_thread(look)
        headers = {"content-type": "application/json", "cache-control": "no-store"}
        return Response(msgspec.json.encode(profile), headers=headers)

    return [Route("/console/machine", machine, methods=["GET"])]
