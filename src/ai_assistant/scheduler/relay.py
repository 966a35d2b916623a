"""One answer from whoever can give it: the next worker goes on where another broke off.

Every candidate gets the request through the gate, as far as the owner's rules let it go there. What
the client has is the one truth: a continuation starts behind its last character.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Sequence

import msgspec
from msgspec import structs

from ai_assistant.policy.errors import KeptHere
from ai_assistant.policy.examine import Examined
from ai_assistant.policy.gate import Gate
from ai_assistant.policy.labels import Destination, Facts
from ai_assistant.protocol.chunks import TokenChunk, Usage
from ai_assistant.protocol.errors import AssistantError, UnsupportedFeature
from ai_assistant.protocol.requests import GenerateRequest, Partial
from ai_assistant.protocol.worker import RemoteSource, TokenSource

log = logging.getLogger(__name__)

LONG = 50_000
"""Characters from which a request is read in a thread of its own: 20 ms and more."""


class Candidate(msgspec.Struct, frozen=True):
    """One who may answer, and where that is."""

    source: TokenSource
    destination: Destination
    remote: RemoteSource | None = None
    """The source, where it is elsewhere."""

    def refusal(self, request: GenerateRequest) -> str | None:
        """Why it cannot do this, as far as is known."""
        return self.remote.refusal(request) if self.remote else None


class Told:
    """What the client has of the answer so far."""

    def __init__(self) -> None:
        self.text = ""
        self.reasoning = ""
        self.tool_calls = False
        self.tokens = 0
        self.began = False

    def note(self, chunk: TokenChunk) -> None:
        """This piece goes to the client now."""
        self.text += chunk.text
        self.reasoning += chunk.reasoning
        self.tool_calls = self.tool_calls or bool(chunk.tool_calls)
        self.began = self.began or bool(chunk.text or chunk.reasoning or chunk.tool_calls)

    def rest_of(self, request: GenerateRequest) -> GenerateRequest:
        """What is still to be asked for."""
        if not self.began:
            return request
        return structs.replace(
            request,
            partial=Partial(
                text=self.text,
                reasoning=self.reasoning,
                tool_calls=self.tool_calls,
                generated=self.tokens,
            ),
        )

    def whole(self, chunk: TokenChunk) -> TokenChunk:
        """The last piece's usage, of all that the client has: the earlier tokens were answer here
        and prompt there."""
        if chunk.usage is None or not self.tokens:
            return chunk
        usage = structs.replace(
            chunk.usage,
            prompt_tokens=max(chunk.usage.prompt_tokens - self.tokens, 0),
            completion_tokens=chunk.usage.completion_tokens + self.tokens,
            estimated=True,
        )
        return structs.replace(chunk, usage=usage)


async def relay(
    request: GenerateRequest, candidates: Sequence[Candidate], gate: Gate
) -> AsyncGenerator[TokenChunk, None]:
    """The answer's pieces; raises the last worker's error when nobody is left to ask.

    Whoever cannot be asked, because of the owner's rules or its abilities, is passed over.
    """
    told = Told()
    error: AssistantError | None = None
    for candidate in candidates:
        rest = told.rest_of(request)
        if _nothing_left(rest):
            yield _cut_off(told)
            return
        refusal = candidate.refusal(rest)
        if refusal:
            error = error or UnsupportedFeature(refusal)
            continue
        try:
            async with contextlib.aclosing(_ask(rest, candidate, gate)) as pieces:
                async for chunk in pieces:
                    told.note(chunk)
                    yield told.whole(chunk)
            return
        except AssistantError as caught:
            if not caught.elsewhere or (told.began and not _can_go_on(request)):
                raise
            told.tokens += caught.reached.tokens
            # That the rules keep a request from there says nothing of what went wrong before.
            error = error if error and isinstance(caught, KeptHere) else caught
            log.warning("%s: %s", candidate.destination.name, caught.message)
    assert error is not None
    raise error


async def _ask(
    request: GenerateRequest, candidate: Candidate, gate: Gate
) -> AsyncGenerator[TokenChunk, None]:
    """The answer of one of them, its placeholders restored."""
    examined = await _examined(request, gate)
    destination = candidate.destination
    outbound = await gate.open(request, examined, destination, request_id=request.request_id)
    restorer = outbound.restorer()
    pieces = candidate.source.generate(outbound.request)
    try:
        async for chunk in pieces:
            yield restorer.restore(chunk)
    finally:
        await pieces.aclose()  # type: ignore[attr-defined]
        gate.close(request.request_id, destination)


async def _examined(request: GenerateRequest, gate: Gate) -> Examined:
    facts = Facts(tenant=request.tenant, model=request.model)
    if len(str(request.prompt)) > LONG:
        return await asyncio.to_thread(gate.examine, request, facts)
    return gate.examine(request, facts)


def _can_go_on(request: GenerateRequest) -> bool:
    """One choice of text: several, or their probabilities, are not told in a continuation."""
    return request.n == 1 and request.logprobs is None


def _nothing_left(request: GenerateRequest) -> bool:
    partial = request.partial
    return bool(
        partial and request.max_tokens is not None and partial.generated >= request.max_tokens
    )


def _cut_off(told: Told) -> TokenChunk:
    """The answer was as long as it may be when its worker went away."""
    usage = Usage(prompt_tokens=0, completion_tokens=told.tokens, estimated=True)
    return TokenChunk(finish="length", usage=usage)
