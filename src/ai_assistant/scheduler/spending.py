"""Money for one request to one worker: laid aside before, settled after. Free workers cost no word.

A token is at least one byte of text, so the bytes of a prompt are the most that it can have.
"""

import contextlib
from collections.abc import AsyncGenerator

import msgspec
from msgspec import structs

from ai_assistant.protocol.chunks import Embeddings, TokenChunk, Usage
from ai_assistant.protocol.errors import AssistantError, FirstTokenTimeout
from ai_assistant.protocol.offers import Offer, Price
from ai_assistant.protocol.purse import Purse
from ai_assistant.protocol.requests import EmbedRequest, GenerateRequest, OutputFormat
from ai_assistant.protocol.worker import RemoteSource

USUAL_ANSWER = 8192
"""Tokens that an answer is taken to have at most, where the request names no limit."""
_MILLION = 1_000_000
_BYTES = 3
"""Of a token, about, where only the text is known."""


def worst_case(
    request: GenerateRequest | EmbedRequest, offer: Offer, thinking: int = 0
) -> float | None:
    """The most dollars that it may cost there; None: nobody knows the price.

    `thinking`: tokens that each answer may take beyond its limit.
    """
    if offer.price is None:
        return None
    answer = 0
    if isinstance(request, GenerateRequest):
        limit = request.max_tokens
        longest = max(limit - _generated(request), 1) if limit else _longest(offer)
        answer = (longest + thinking) * request.n
    return offer.price.of(Usage(prompt_tokens=_size(request), completion_tokens=answer))


def within(
    request: GenerateRequest, offer: Offer, left: float | None, *, least: int, thinking: int = 0
) -> GenerateRequest:
    """A request that names no limit, its answer no longer than `left` dollars pay for; None: as
    many as it likes.

    Not shorter than `least` tokens for all choices: whoever keeps the money refuses those.
    """
    if left is None or not offer.price or not offer.price.output:
        return request
    prompt = offer.price.of(Usage(prompt_tokens=_size(request), completion_tokens=0))
    paid = (left - prompt) * _MILLION / offer.price.output / request.n - thinking
    before = _generated(request)
    longest = _longest(offer) + before
    longest = min(request.max_tokens or longest, longest)
    wanted = min(longest, before + max(-(-least // request.n), 1))
    return structs.replace(request, max_tokens=max(min(longest, before + int(paid)), wanted))


def _longest(offer: Offer) -> int:
    return min(USUAL_ANSWER, offer.context or USUAL_ANSWER)


def _generated(request: GenerateRequest) -> int:
    """Tokens of the limit that are used up: somebody else wrote them."""
    return request.partial.generated if request.partial else 0


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
    purse: Purse | None,
    tenant: str,
    request: GenerateRequest | EmbedRequest,
    remote: RemoteSource | None,
) -> AsyncGenerator[Meter]:
    """Around one request to one worker; raises `BudgetSpent` before anything is sent.

    `request` is what is sent: with its last limit, and with what hides its text.
    """
    if purse is None or remote is None or _is_free(remote.offer.price):
        yield Meter()
        return
    held = await purse.hold(tenant, worst_case(request, remote.offer, _thinking(request, remote)))
    meter = Meter(remote.offer.price, _size(request))
    try:
        yield meter
    except AssistantError as error:
        meter.failed(error)
        raise
    finally:
        held.settle(meter.dollars)


def as_paid(
    purse: Purse | None,
    tenant: str,
    request: GenerateRequest,
    remote: RemoteSource | None,
    *,
    least: int,
) -> GenerateRequest:
    """The same within what is left to the tenant now. Nothing may be awaited until it is held."""
    if purse is None or remote is None or _is_free(remote.offer.price):
        return request
    thinking = _thinking(request, remote)
    return within(request, remote.offer, purse.left(tenant), least=least, thinking=thinking)


def _thinking(request: GenerateRequest | EmbedRequest, remote: RemoteSource) -> int:
    return remote.thinking(request) if isinstance(request, GenerateRequest) else 0


def _is_free(price: Price | None) -> bool:
    return price is not None and not (price.input or price.output)


def _size(request: GenerateRequest | EmbedRequest) -> int:
    """Bytes of all that is sent, with what stands around it."""
    if isinstance(request, EmbedRequest):
        return len(msgspec.json.encode(request.inputs))
    sent = len(msgspec.json.encode(request.prompt))
    if request.format != OutputFormat():
        sent += len(msgspec.json.encode(request.format))
    begun = request.partial
    return sent + (len((begun.text + begun.reasoning).encode("utf-8", "replace")) if begun else 0)
