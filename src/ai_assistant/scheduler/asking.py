"""One candidate is asked: through the gate, in its own words, with as much patience as it has."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import TYPE_CHECKING

import msgspec
from msgspec import structs

from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.protocol.errors import FirstTokenTimeout
from ai_assistant.protocol.purse import Purse
from ai_assistant.protocol.requests import GenerateRequest
from ai_assistant.scheduler.spending import as_paid, spending
from ai_assistant.scheduler.turn import Ended, Turn

if TYPE_CHECKING:  # A node whose models are all here loads no detectors.
    from ai_assistant.policy.examine import Examined
    from ai_assistant.policy.gate import Gate


class Desk(msgspec.Struct, frozen=True):
    """What every turn of one answer needs."""

    gate: "Gate | None"
    """Without one every candidate must be an engine of this node."""
    learn: Callable[[Ended], None]
    purse: Purse | None
    with_blocks: bool = True
    """KV blocks go along with an answer that changes nodes."""


async def ask(
    request: GenerateRequest, turn: Turn, desk: Desk, examined: "Examined | None" = None
) -> AsyncGenerator[TokenChunk, None]:
    """The candidate's answer, its placeholders restored; `examined` is of `request`."""
    candidate, gate, learn = turn.candidate, desk.gate, desk.learn
    wanted = _for(request, turn)
    if gate is None:
        assert candidate.destination.reach == "process"
        async with contextlib.aclosing(_timely(wanted, turn, learn)) as pieces:
            async for chunk in pieces:
                yield chunk
        return
    examined = examined or await examine(request, gate)
    where = candidate.destination
    from ai_assistant.policy.passage import permitted

    async with permitted(gate, wanted, examined, where, request.request_id) as outbound:
        restorer = outbound.restorer()
        sent, payer = outbound.request, request.tenant
        if request.max_tokens is None:
            sent = as_paid(desk.purse, payer, sent, candidate.remote, least=turn.answer_tokens)
        async with (
            spending(desk.purse, payer, sent, candidate.remote) as meter,
            contextlib.aclosing(_timely(sent, turn, learn)) as pieces,
        ):
            async for chunk in pieces:
                meter.note(chunk)
                # Tokens with placeholders are not those of the client's text.
                whole = structs.replace(chunk, spelled=None) if outbound.hidden else chunk
                yield restorer.restore(whole)


async def _timely(
    request: GenerateRequest, turn: Turn, learn: Callable[[Ended], None]
) -> AsyncGenerator[TokenChunk, None]:
    """The pieces of one source; raises `FirstTokenTimeout` when its patience is over."""
    began = time.monotonic()
    waited = 0.0
    last: TokenChunk | None = None
    pieces = turn.candidate.source.generate(request)
    try:
        first = await _first(pieces, turn)
        waited = time.monotonic() - began
        if first is None:
            return
        last = first if first.usage else None
        yield first
        async for chunk in pieces:
            if chunk.usage is not None:
                last = chunk
            yield chunk
    finally:
        waited = waited or time.monotonic() - began
        await pieces.aclose()  # type: ignore[attr-defined]
        learn(Ended(turn=turn, waited=waited, last=last))


async def _first(pieces: AsyncIterator[TokenChunk], turn: Turn) -> TokenChunk | None:
    if turn.patience is None:
        return await anext(pieces, None)
    limit = asyncio.timeout(turn.patience)
    try:
        async with limit:
            return await anext(pieces, None)
    except TimeoutError:
        if not limit.expired():
            raise
        raise FirstTokenTimeout(
            f"{turn.candidate.name} gave no first token in {turn.patience:g} seconds."
        ) from None


async def examine(request: GenerateRequest, gate: "Gate") -> "Examined":
    """What the request holds."""
    from ai_assistant.policy.passage import examined_by

    return await examined_by(gate, request)


def _for(request: GenerateRequest, turn: Turn) -> GenerateRequest:
    """The request in this one's words: our engines know models by their own names."""
    if turn.candidate.remote is None and request.model != turn.candidate.name:
        request = structs.replace(request, model=turn.candidate.name)
    if turn.most_tokens is not None and request.max_tokens is None:
        most = max(turn.most_tokens // request.n, 1)
        request = structs.replace(request, max_tokens=most)
    return request
