"""One small request to see what a provider is worth, and one to see whether it goes on."""

import msgspec

from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.protocol.errors import AssistantError
from ai_assistant.protocol.offers import Offer
from ai_assistant.protocol.requests import ChatMessage, ChatPrompt, GenerateRequest, Partial
from ai_assistant.protocol.worker import RemoteSource

_TOKENS = 48
_QUESTION = "Count from 1 to 15. Write the numbers, with a comma between them."
_BEGUN = Partial(text="1, 2, 3, 4, 5, 6, 7,", generated=20)


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of one model."""

    provider: str
    model: str
    ttft_seconds: float | None = None
    tokens_per_second: float | None = None
    tokens: int = 0
    dollars: float | None = None
    """For this request; None: the price is not known."""
    continues: bool | None = None
    """It went on in the middle of an answer; None: it does not say that it can."""
    error: str | None = None
    error_code: str | None = None


def question(request_id: str) -> GenerateRequest:
    """The request that is sent."""
    prompt = ChatPrompt(messages=(ChatMessage(role="user", content=_QUESTION),))
    return GenerateRequest(
        request_id=request_id, model="", prompt=prompt, max_tokens=_TOKENS + _BEGUN.generated
    )


def half_answered(request_id: str) -> GenerateRequest:
    """The same with the beginning of its answer."""
    return msgspec.structs.replace(question(request_id), partial=_BEGUN)


async def measure(worker: RemoteSource, request: GenerateRequest) -> Probe:
    """Ask; errors are part of what is measured."""
    offer = worker.offer
    chunks: list[TokenChunk] = []
    try:
        async for chunk in worker.generate(request):
            chunks.append(chunk)
    except AssistantError as error:
        return Probe(
            provider=offer.provider, model=offer.model, error=error.message, error_code=error.code
        )
    return _measured(offer, chunks[-1])


async def goes_on(worker: RemoteSource, request: GenerateRequest) -> bool | None:
    """Whether the answer is continued and not begun anew; None: it does not claim to."""
    if worker.refusal(request) is not None:
        return None
    text = ""
    try:
        async for chunk in worker.generate(request):
            text += chunk.text
    except AssistantError:
        return False
    begun = _BEGUN.text.replace(" ", "")[:6]
    return bool(text.strip()) and not text.replace(" ", "").lstrip().startswith(begun)


def _measured(offer: Offer, last: TokenChunk) -> Probe:
    usage, timings = last.usage, last.timings
    tokens = usage.completion_tokens if usage else 0
    seconds = timings.decode_ms / 1000 if timings else 0.0
    return Probe(
        provider=offer.provider,
        model=offer.model,
        ttft_seconds=timings.prefill_ms / 1000 if timings else None,
        tokens_per_second=(tokens - 1) / seconds if tokens > 1 and seconds > 0 else None,
        tokens=tokens,
        dollars=offer.price.of(usage) if usage and offer.price else None,
    )
