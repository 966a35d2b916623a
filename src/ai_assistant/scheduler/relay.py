"""One answer from whoever can give it: the next worker goes on where another broke off.

Every candidate gets the request through the gate, as far as the owner's rules let it go there. What
the client has is the one truth: a continuation starts behind its last character.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import structs

from ai_assistant.policy.errors import KeptHere
from ai_assistant.protocol.chunks import TokenChunk, Usage
from ai_assistant.protocol.errors import AssistantError, FirstTokenTimeout, UnsupportedFeature
from ai_assistant.protocol.purse import Purse
from ai_assistant.protocol.requests import GenerateRequest
from ai_assistant.protocol.routing import Decision, Served
from ai_assistant.scheduler.candidates import Candidate
from ai_assistant.scheduler.spending import spending
from ai_assistant.scheduler.told import Told

if TYPE_CHECKING:  # A node whose models are all here loads no detectors.
    from ai_assistant.policy.examine import Examined
    from ai_assistant.policy.gate import Gate

log = logging.getLogger(__name__)


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate whose turn comes, and under which conditions."""

    candidate: Candidate
    reason: str = ""
    fallback: bool = False
    why: str = ""
    """Why it is a fallback."""
    patience: float | None = None
    """Seconds for the first piece, beside the worker's own deadlines."""
    most_tokens: int | None = None
    """All choices together may have so many, because a limit pays for no more."""
    prompt_tokens: int = 0
    """About."""
    expected_cost: float | None = None
    energy: float = 0.0
    """Dollars for a second of computing."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a turn went, for those who learn from it."""

    turn: Turn
    waited: float
    """Seconds until its first piece, or until it was given up."""
    last: TokenChunk | None = None
    """The piece with the usage; None: it never came."""


def _nobody(_: Ended) -> None:
    """Nothing is learned."""


async def relay(
    request: GenerateRequest,
    turns: Sequence[Turn],
    gate: "Gate | None",
    *,
    examined: "Examined | None" = None,
    decision: Decision | None = None,
    learn: Callable[[Ended], None] = _nobody,
    purse: Purse | None = None,
) -> AsyncGenerator[TokenChunk, None]:
    """The answer's pieces; raises the last worker's error when nobody is left to ask.

    Whoever cannot be asked, because of the owner's rules or its abilities, is passed over. Without
    a `gate` every candidate must be an engine of this node. `examined` is of `request`. `purse`:
    whose money is spent, where a candidate costs some.
    """
    told, bill = Told(), _Bill(decision)
    error: AssistantError | None = None
    for turn in turns:
        rest = told.rest_of(request)
        if _nothing_left(rest):
            yield bill.last(told.cut_off())
            return
        refusal = turn.candidate.remote.refusal(rest) if turn.candidate.remote else None
        if refusal:
            error = error or UnsupportedFeature(refusal)
            continue
        bill.begin(turn, error)
        try:
            known = examined if rest is request else None
            asked = _ask(rest, turn, gate, known, learn, purse)
            async with contextlib.aclosing(asked) as pieces:
                async for chunk in pieces:
                    told.note(chunk)
                    yield told.whole(bill.stamped(chunk))
            return
        except AssistantError as caught:
            if not caught.elsewhere or (told.began and not _can_go_on(request)):
                raise
            told.tokens += caught.reached.tokens
            bill.broke_off(caught)
            # That the rules keep a request from there says nothing of what went wrong before.
            error = error if error and isinstance(caught, KeptHere) else caught
            log.warning("%s: %s", turn.candidate.name, caught.message)
    assert error is not None
    raise error


async def _ask(
    request: GenerateRequest,
    turn: Turn,
    gate: "Gate | None",
    examined: "Examined | None",
    learn: Callable[[Ended], None],
    purse: Purse | None,
) -> AsyncGenerator[TokenChunk, None]:
    """The answer of one of them, its placeholders restored."""
    candidate = turn.candidate
    wanted = _for(request, turn)
    if gate is None:
        assert candidate.destination.reach == "process"
        async with contextlib.aclosing(_timely(wanted, turn, learn)) as pieces:
            async for chunk in pieces:
                yield chunk
        return
    if examined is None:
        examined = await examine(request, gate)
    where = candidate.destination
    outbound = await gate.open(wanted, examined, where, request_id=request.request_id)
    restorer = outbound.restorer()
    try:
        async with (
            spending(purse, request, candidate.remote) as meter,
            contextlib.aclosing(_timely(outbound.request, turn, learn)) as pieces,
        ):
            async for chunk in pieces:
                meter.note(chunk)
                yield restorer.restore(chunk)
    finally:
        gate.close(request.request_id, where)


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


def _can_go_on(request: GenerateRequest) -> bool:
    """One choice of text: several, or their probabilities, are not told in a continuation."""
    return request.n == 1 and request.logprobs is None


def _nothing_left(request: GenerateRequest) -> bool:
    partial = request.partial
    return bool(
        partial and request.max_tokens is not None and partial.generated >= request.max_tokens
    )


class _Bill:
    """Who answers and what it costs, for the first piece of an answer and for the last."""

    def __init__(self, decision: Decision | None) -> None:
        self._decision = decision
        self._turn: Turn | None = None
        self._before: list[str] = []
        self._spent: float | None = 0.0
        self._why = ""
        self._told = False

    def begin(self, turn: Turn, error: AssistantError | None) -> None:
        """Its turn comes; `error`: what became of those before it."""
        self._turn = turn
        self._why = error.message if error else turn.why

    def stamped(self, chunk: TokenChunk) -> TokenChunk:
        """The piece, with who answers where that is to be told."""
        if chunk.usage is not None:
            return self.last(chunk)
        if self._told:
            return structs.replace(chunk, served=None) if chunk.served else chunk
        self._told = True
        assert self._turn
        return structs.replace(chunk, served=self._served(self._turn.expected_cost))

    def broke_off(self, error: AssistantError) -> None:
        """It went away; what it had said is paid for."""
        assert self._turn
        if not error.reached.began:
            return
        self._before.append(self._turn.candidate.name)
        usage = Usage(
            prompt_tokens=self._turn.prompt_tokens, completion_tokens=error.reached.tokens
        )
        self._pay(usage, 0.0)

    def last(self, chunk: TokenChunk) -> TokenChunk:
        """The last piece, with what all of the answer cost."""
        spent = chunk.timings
        busy = (spent.prefill_ms + spent.decode_ms) / 1000 if spent else 0.0
        if chunk.usage is not None and chunk.usage.prompt_tokens:
            self._pay(chunk.usage, busy)
        self._told = True
        return structs.replace(chunk, served=self._served(self._spent))

    def _pay(self, usage: Usage, busy: float) -> None:
        assert self._turn
        remote = self._turn.candidate.remote
        energy = busy * self._turn.energy
        if remote is None:
            self._spent = None if self._spent is None else self._spent + energy
            return
        price = remote.offer.price
        dollars = price and price.of(usage)
        self._spent = (
            None if dollars is None or self._spent is None else self._spent + dollars + energy
        )

    def _served(self, cost: float | None) -> Served:
        assert self._turn
        return Served(
            worker=self._turn.candidate.name,
            reason=self._turn.reason,
            cost=cost,
            fallback=bool(self._why or self._turn.fallback),
            why=self._why,
            before=tuple(self._before),
            decision=self._decision,
        )
