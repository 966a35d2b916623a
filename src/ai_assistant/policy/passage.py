"""Through the gate and back: one request for one destination."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import TypeVar

import msgspec

from ai_assistant.policy.examine import Examined
from ai_assistant.policy.gate import Gate, Outbound
from ai_assistant.policy.labels import Destination, Facts
from ai_assistant.protocol.requests import EmbedRequest

R = TypeVar("R", bound=msgspec.Struct)

LONG = 50_000
"""Characters from which a request is read in a thread of its own: 20 ms and more."""


async def examined_by(gate: Gate, request: msgspec.Struct, facts: Facts | None = None) -> Examined:
    """What the request holds, and with whom its conversation may go on; `facts` says more."""
    if _is_long(request):
        return await asyncio.to_thread(gate.examine, request, facts)
    return gate.examine(request, facts)


@contextlib.asynccontextmanager
async def passage(gate: Gate, request: R, where: Destination) -> AsyncGenerator[Outbound[R], None]:
    """The request as it may go there, for as long as the context lasts.

    Raises `KeptHere` and `NotRecorded`.
    """
    identity: str = getattr(request, "request_id", "")
    examined = await examined_by(gate, request)
    async with permitted(gate, request, examined, where, identity) as outbound:
        yield outbound


@contextlib.asynccontextmanager
async def permitted(
    gate: Gate, request: R, examined: Examined, where: Destination, identity: str
) -> AsyncGenerator[Outbound[R], None]:
    """The same of a request that was examined already, under a name of its own."""
    outbound = await gate.open(request, examined, where, request_id=identity)
    try:
        yield outbound
    finally:
        gate.close(identity, where)


def without_text(
    gate: Gate, where: Destination, identity: str
) -> contextlib.AbstractAsyncContextManager[Outbound[EmbedRequest]]:
    """The same of a question that holds no text: decided as for text without labels."""
    query = EmbedRequest(request_id=identity, model="", inputs=())
    return permitted(gate, query, gate.examine(query, Facts()), where, identity)


def _is_long(request: msgspec.Struct) -> bool:
    texts = (getattr(request, name, "") for name in ("prompt", "inputs", "query"))
    return sum(len(str(text)) for text in texts) > LONG
