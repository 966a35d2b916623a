"""One answer as it comes: bytes to pieces, under deadlines that only tokens satisfy."""

import asyncio
from collections.abc import AsyncGenerator

from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.protocol.errors import (
    AssistantError,
    FirstTokenTimeout,
    MalformedAnswer,
    StreamBroken,
    StreamStalled,
)
from ai_assistant.workers.remote.deadlines import Deadlines
from ai_assistant.workers.remote.dialect import Reader
from ai_assistant.workers.remote.sse import EventParser
from ai_assistant.workers.remote.upstream import Visit

_GRACE_SECONDS = 2.0
"""How long a whole answer waits for its figures."""


async def pieces_of(
    visit: Visit, reader: Reader, *, provider: str, deadlines: Deadlines, first_until: float
) -> AsyncGenerator[list[TokenChunk], None]:
    """What each read brought, never empty; ends when the answer is whole.

    Raises `FirstTokenTimeout`, `StreamStalled`, `StreamBroken`, `MalformedAnswer` or what the
    server says inside the stream.
    """
    loop = asyncio.get_running_loop()
    parser = EventParser()
    until = first_until
    begun = False
    while not reader.ended:
        try:
            async with asyncio.timeout_at(until):
                data = await visit.read()
        except TimeoutError:
            if reader.whole:
                break
            raise _too_late(provider, deadlines, begun=begun) from None
        except StreamBroken:
            if reader.whole:
                break
            raise
        if not data:
            break
        found: list[TokenChunk] = []
        error: AssistantError | None = None
        try:
            for event in parser.feed(data):
                found += reader.read(event)
        except AssistantError as caught:
            error = caught
        if found:
            begun = True
            # What came before the error was said, and counts.
            yield found
            until = loop.time() + deadlines.between_tokens
        if error is not None:
            raise error
        if reader.whole:
            until = min(until, loop.time() + _GRACE_SECONDS)
    yield reader.close()


def _too_late(provider: str, deadlines: Deadlines, *, begun: bool) -> AssistantError:
    if begun:
        return StreamStalled(
            f"{provider} stopped in the middle: no token for {deadlines.between_tokens:g} seconds."
        )
    return FirstTokenTimeout(f"{provider} gave no token in {deadlines.first_token:g} seconds.")


def is_events(visit: Visit) -> bool:
    """Whether the body is a stream of events; servers that forget to say so send one."""
    kind = visit.headers.get("content-type", "")
    return not kind or "event-stream" in kind or "text/plain" in kind


def is_object(visit: Visit) -> bool:
    """Whether the body is one JSON object."""
    return "json" in visit.headers.get("content-type", "")


def wrong_type(provider: str, visit: Visit) -> MalformedAnswer:
    """It is neither."""
    kind = visit.headers.get("content-type", "")[:80]
    return MalformedAnswer(f"{provider} sent {kind}, which is no answer; is base_url right?")
