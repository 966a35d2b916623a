"""Nodes that could go on with an answer whose worker wants to leave.

As a machine moves while it runs (pre-copy: Clark et al., NSDI 2005): the other node reads what is
said so far while the client still hears the old one, then what was said meanwhile, until only a few
tokens are new. Then it takes over, and the client waits for those few alone.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol, runtime_checkable

import msgspec
from msgspec import structs

from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.protocol.errors import AssistantError
from ai_assistant.protocol.requests import GenerateRequest, Partial
from ai_assistant.scheduler.asking import Desk, ask
from ai_assistant.scheduler.blocks.carrying import Carrying
from ai_assistant.scheduler.turn import Turn

log = logging.getLogger(__name__)

READ_SECONDS = 300.0
"""How long another node may take to read an answer's beginning; nobody waits for it."""
SOON, ROUNDS = 0.5, 4
"""What it read within so many seconds is little enough; after so many rounds it never will be."""
HEIR_SECONDS = 5.0
"""How long it may then take to go on: for so long the client hears nothing."""

Rest = Callable[[], GenerateRequest]
"""What is still to be asked for, at this moment."""


@runtime_checkable
class Patient(Protocol):
    """A source that waits to hear whether an answer that it offered goes."""

    def stays(self, request_id: str) -> None: ...


class Heir(msgspec.Struct, frozen=True):
    """Who goes on with the answer: its first piece has come."""

    turn: Turn
    first: TokenChunk
    others: AsyncGenerator[TokenChunk, None]


class Heirs:
    """Looks for one among those who could be asked."""

    def __init__(self, waiting: Sequence[Turn], desk: Desk) -> None:
        """`waiting`: as it is at any time."""
        self._waiting = waiting
        self._desk = desk

    async def reader(self, rest: Rest, leaving: Turn, notice: TokenChunk) -> Turn | None:
        """The first of our nodes, this one among them, that has read the answer so far, with the
        blocks of whoever leaves where these come sooner; None: nobody does. The notice may name
        the only one."""
        request = rest()
        if nothing_left(request) or not can_go_on(request):
            return None
        ticket = notice.ticket if self._desk.with_blocks else ""
        carrying = Carrying(leaving, ticket, self._desk.gate)
        able = [
            one
            for one in self._waiting
            if _may_inherit(one, notice.leaving or "", request) or _is_own(one, leaving)
        ]
        for turn in able:
            try:
                await carrying.bring(request, turn)
                await self._read(rest, structs.replace(turn, patience=READ_SECONDS))
                return turn
            except AssistantError as error:
                _note(turn, error)
        return None

    async def _read(self, rest: Rest, turn: Turn) -> None:
        for _ in range(ROUNDS):
            begun = time.monotonic()
            request = rest()
            generated = request.partial.generated if request.partial else 0
            single = structs.replace(request, max_tokens=generated + 1, spell=False)
            pieces = ask(single, turn, self._desk)
            async with contextlib.aclosing(pieces):
                async for _chunk in pieces:
                    pass
            if time.monotonic() - begun < SOON:
                return

    async def heir(self, rest: Rest, turn: Turn) -> Heir | None:
        """It goes on from here; None where it does not after all, and nothing is lost: whoever
        speaks goes on meanwhile, and is heard later."""
        others = [one for one in self._waiting if one is not turn]
        hurried = structs.replace(turn, patience=HEIR_SECONDS)
        pieces = ask(spelling(rest(), others), hurried, self._desk)
        try:
            first = await anext(pieces, None)
        except AssistantError as error:
            _note(turn, error)
            return None
        if first is not None and first.leaving is None:
            return Heir(turn, first, pieces)
        await pieces.aclose()
        return None


class Search:
    """For an heir of one answer, beside it."""

    def __init__(self, heirs: Heirs, rest: Rest, turn: Turn, request_id: str) -> None:
        """`turn` is of whoever wants to leave."""
        self._heirs = heirs
        self._rest = rest
        self._turn = turn
        self._request_id = request_id
        self._reading: asyncio.Task[Turn | None] | None = None

    def begin(self, notice: TokenChunk) -> None:
        """Look, unless somebody does already."""
        if self._reading is None:
            reading = self._heirs.reader(self._rest, self._turn, notice)
            self._reading = asyncio.create_task(reading)

    async def found(self) -> Heir | None:
        """Who has read all and goes on now. Returns at once while that is not known."""
        if self._reading is None or not self._reading.done():
            return None
        reader, self._reading = self._reading.result(), None
        heir = await self._heirs.heir(self._rest, reader) if reader else None
        source = self._turn.candidate.source
        if heir is None and isinstance(source, Patient):
            source.stays(self._request_id)
        return heir

    async def end(self) -> None:
        """Nobody is needed any more."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)


def _note(turn: Turn, error: AssistantError) -> None:
    log.warning("%s does not take an answer over: %s", turn.candidate.name, error.message)


def _may_inherit(turn: Turn, to: str, request: GenerateRequest) -> bool:
    """Whether it is a node of ours, the one that is wanted, and seems able."""
    remote = turn.candidate.remote
    if remote is None or remote.offer.kind != "ai-assistant":
        return False
    return remote.offer.provider == (to or remote.offer.provider) and not remote.refusal(request)


def _is_own(turn: Turn, leaving: Turn) -> bool:
    """Whether it is an engine of this node, and another node's leaves."""
    return turn.candidate.remote is None and leaving.candidate.remote is not None


def spelling(request: GenerateRequest, others: Sequence[Turn]) -> GenerateRequest:
    """The request, with its tokens told where somebody else could go on with them."""
    if request.spell or not others or not can_go_on(request):
        return request
    return structs.replace(request, spell=True)


def can_go_on(request: GenerateRequest) -> bool:
    """One choice of text: several, or their probabilities, are not told in a continuation."""
    return request.n == 1 and request.logprobs is None


def nothing_left(request: GenerateRequest) -> bool:
    """It is as long as it may be."""
    partial: Partial | None = request.partial
    return bool(
        partial and request.max_tokens is not None and partial.generated >= request.max_tokens
    )
