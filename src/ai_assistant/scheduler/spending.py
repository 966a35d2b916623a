"""Money for one request to one worker: laid aside before, settled after. Free workers cost no word.

A token is at least one byte of text, so the bytes of a prompt are the most that it can have.
"""

import contextlib
from collections.abc import AsyncGenerator

import msgspec

from ai_assistant.protocol.chunks import Embeddings, TokenChunk, Usage
from ai_assistant.protocol.errors import AssistantError, FirstTokenTimeout
from ai_assistant.protocol.offers import Offer, Price
from ai_assistant.protocol.purse import Purse
from ai_assistant.protocol.requests import EmbedRequest, GenerateRequest
from ai_assistant.protocol.worker import RemoteSource

USUAL_ANSWER = 8192
"""Tokens that an answer is taken to have at most, where the request names no limit."""
_BYTES = 3
"""Of a token, about, where only the text is known."""


def worst_case(request: GenerateRequest | EmbedRequest, offer: Offer) -> float | None:
    """The most dollars that it may cost there; None: nobody knows the price."""
    if offer.price is None:
        return None
    prompt = _size(request)
    answer = 0
    if isinstance(request, GenerateRequest):
        longest = request.max_tokens or min(USUAL_ANSWER, offer.context or USUAL_ANSWER)
        answer = longest * request.n
    return offer.price.of(Usage(prompt_tokens=prompt, completion_tokens=answer))


class Meter:
    """What comes back, and what it cost so far."""

    def __init__(self, price: Price | None = None, prompt_bytes: int = 0) -> None:
        self._price = price
        self._prompt = prompt_bytes // _BYTES + 1
        self._usage: Usage | None = None
        self._pieces = 0
        self._letters = 0
        self._nothing_ran = False

    def note(self, chunk: TokenChunk) -> None:
        """A piece of the answer."""
        self._pieces += 1
        self._letters += len(chunk.text) + len(chunk.reasoning)
        self._usage = chunk.usage or self._usage

    def note_vectors(self, found: Embeddings) -> None:
        """All of the answer."""
        self._usage = Usage(prompt_tokens=found.prompt_tokens, completion_tokens=0)

    def failed(self, error: AssistantError) -> None:
        """It broke off. Nobody pays for what was refused; who was only slow may have computed."""
        self._nothing_ran = not self._pieces and not isinstance(error, FirstTokenTimeout)

    @property
    def dollars(self) -> float:
        """By the usage where it was told, else by what is known of the text."""
        if self._price is None or (self._nothing_ran and self._usage is None):
            return 0.0
        seen = max(self._pieces, self._letters // _BYTES)
        return self._price.of(
            self._usage or Usage(prompt_tokens=self._prompt, completion_tokens=seen)
        )


@contextlib.asynccontextmanager
async def spending(
    purse: Purse | None, request: GenerateRequest | EmbedRequest, remote: RemoteSource | None
) -> AsyncGenerator[Meter]:
    """Around one request to one worker; raises `BudgetSpent` before anything is sent.

    `request` must still say whose it is.
    """
    if purse is None or remote is None or _is_free(remote.offer.price):
        yield Meter()
        return
    held = await purse.hold(request.tenant, worst_case(request, remote.offer))
    meter = Meter(remote.offer.price, _size(request))
    try:
        yield meter
    except AssistantError as error:
        meter.failed(error)
        raise
    finally:
        held.settle(meter.dollars)


def _is_free(price: Price | None) -> bool:
    return price is not None and not (price.input or price.output)


def _size(request: GenerateRequest | EmbedRequest) -> int:
    """Bytes of all that is sent, with what stands around it."""
    asked = request.prompt if isinstance(request, GenerateRequest) else request.inputs
    return len(msgspec.json.encode(asked))
