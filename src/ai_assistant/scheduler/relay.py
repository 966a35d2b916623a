"""One answer from whoever can give it: the next worker goes on where another broke off.

Every candidate gets the request through the gate, as far as the owner's rules let it go there. What
the client has is the one truth: a continuation starts behind its last character, and behind its
last token where these are known and the next one has the same model.
"""

import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import TYPE_CHECKING

from msgspec import structs

from ai_assistant.policy.errors import KeptHere
from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.protocol.errors import AssistantError, Reached, UnsupportedFeature
from ai_assistant.protocol.purse import Purse
from ai_assistant.protocol.requests import GenerateRequest
from ai_assistant.protocol.routing import Decision
from ai_assistant.scheduler.asking import Desk, ask
from ai_assistant.scheduler.bill import Bill
from ai_assistant.scheduler.heirs import Heir, Heirs, Search, can_go_on, nothing_left, spelling
from ai_assistant.scheduler.told import Told
from ai_assistant.scheduler.turn import Ended, Turn

if TYPE_CHECKING:  # A node whose models are all here loads no detectors.
    from ai_assistant.policy.examine import Examined
    from ai_assistant.policy.gate import Gate

log = logging.getLogger(__name__)


def _nobody(_: Ended) -> None:
    """Nothing is learned."""


def relay(
    request: GenerateRequest,
    turns: Sequence[Turn],
    gate: "Gate | None",
    *,
    examined: "Examined | None" = None,
    decision: Decision | None = None,
    learn: Callable[[Ended], None] = _nobody,
    purse: Purse | None = None,
    with_blocks: bool = True,
) -> AsyncGenerator[TokenChunk, None]:
    """The answer's pieces; raises the last worker's error when nobody is left to ask.

    Whoever cannot be asked, because of the owner's rules or its abilities, is passed over. Without
    a `gate` every candidate must be an engine of this node. `examined` is of `request`. `purse`:
    whose money is spent, where a candidate costs some. `with_blocks`: KV blocks go along with an
    answer that changes nodes.
    """
    desk = Desk(gate, learn, purse, with_blocks)
    answering = _Answering(request, turns, desk, Bill(decision))
    return answering.pieces(examined)


class _Answering:
    """One answer on its way to the client."""

    def __init__(
        self, request: GenerateRequest, turns: Sequence[Turn], desk: Desk, bill: Bill
    ) -> None:
        self._request = request
        self._waiting = list(turns)
        self._desk = desk
        self._bill = bill
        self._told = Told(request)
        self._heirs = Heirs(self._waiting, desk)
        self._error: AssistantError | None = None

    async def pieces(self, examined: "Examined | None") -> AsyncGenerator[TokenChunk, None]:
        """One after the other is asked, until one has said all."""
        while self._waiting:
            turn = self._waiting.pop(0)
            rest = self._rest()
            if nothing_left(rest):
                yield self._bill.last(self._told.cut_off())
                return
            remote = turn.candidate.remote
            if refusal := remote.refusal(rest) if remote else None:
                self._error = self._error or UnsupportedFeature(refusal)
                continue
            self._bill.begin(turn, self._error)
            known = examined if rest is self._request else None
            said = self._said(turn, ask(spelling(rest, self._waiting), turn, self._desk, known))
            try:
                async with contextlib.aclosing(said):
                    async for chunk in said:
                        yield chunk
                return
            except AssistantError as caught:
                self._note(caught)
        assert self._error is not None
        raise self._error

    def _note(self, caught: AssistantError) -> None:
        """Whoever spoke has gone; raises the error again where nobody else could go on."""
        if not caught.elsewhere or (self._told.began and not can_go_on(self._request)):
            raise caught
        self._bill.gone(self._told.gone(caught.reached))
        # That the rules keep a request from there says nothing of what went wrong before.
        if not (self._error and isinstance(caught, KeptHere)):
            self._error = caught
        log.warning("%s: %s", self._bill.name, caught.message)

    async def _said(
        self, turn: Turn, pieces: AsyncGenerator[TokenChunk, None]
    ) -> AsyncGenerator[TokenChunk, None]:
        """What one of them says, and after it the one that takes the answer over from it."""
        heir: Heir | None = None
        search = Search(self._heirs, self._rest, turn, self._request.request_id)
        try:
            async with contextlib.aclosing(pieces):
                async for chunk in pieces:
                    if chunk.leaving is None or self._is_for_client(chunk):
                        yield self._for_client(_without_ticket(chunk, turn))
                    else:
                        search.begin(chunk)
                    if chunk.usage is None and (heir := await search.found()):
                        break
            if heir is None:
                return
            self._bill.gone(self._told.gone(Reached()))
            self._waiting.remove(heir.turn)
            self._bill.take_over(heir.turn)
            yield self._for_client(heir.first)
            said = self._said(heir.turn, heir.others)
            async with contextlib.aclosing(said):
                async for chunk in said:
                    yield chunk
        finally:
            await search.end()
            if heir:
                await heir.others.aclose()

    def _rest(self) -> GenerateRequest:
        return self._told.rest_of(self._request)

    def _for_client(self, chunk: TokenChunk) -> TokenChunk:
        """A piece as the client gets it, noted."""
        self._told.note(chunk)
        told = self._told.whole(self._bill.stamped(chunk))
        if told.spelled is None or self._request.spell:
            return told
        return structs.replace(told, spelled=None)

    def _is_for_client(self, chunk: TokenChunk) -> bool:
        """The client is a node that looks for an heir itself."""
        return self._request.spell and not chunk.leaving


def _without_ticket(chunk: TokenChunk, turn: Turn) -> TokenChunk:
    """Only this node knows the one that gave it."""
    if chunk.ticket and turn.candidate.remote is not None:
        return structs.replace(chunk, ticket="")
    return chunk
