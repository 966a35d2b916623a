"""POST /v1/chat/completions."""

import time

from ai_assistant.gateway.answers import Head
from ai_assistant.gateway.answers_chat import ChatAnswer
from ai_assistant.gateway.exchange import Exchange
from ai_assistant.gateway.generation import reply
from ai_assistant.gateway.models import fingerprint, named_or_default
from ai_assistant.gateway.urgency import served_tier, standing_of
from ai_assistant.gateway.wire_chat import ChatBody, read_chat, to_request
from ai_assistant.protocol.requests import GenerateRequest
from ai_assistant.protocol.worker import Service


async def complete_chat(exchange: Exchange, service: Service) -> None:
    """Answer a conversation."""
    wire = read_chat(await exchange.body())
    model = named_or_default(wire.model, service)
    standing = standing_of(exchange, wire)
    request = to_request(wire, request_id=exchange.request_id, model=model, standing=standing)
    answer = _answer(wire, request, served_tier(wire, standing))
    await reply(exchange, service, [request], answer, stream=bool(wire.stream))


def _answer(wire: ChatBody, request: GenerateRequest, tier: str | None) -> ChatAnswer:
    head = Head(
        id=f"chatcmpl-{request.request_id}",
        created=int(time.time()),
        model=request.model,
        system_fingerprint=fingerprint(),
        service_tier=tier,
    )
    return ChatAnswer(
        head,
        n=wire.n or 1,
        logprobs=bool(wire.logprobs),
        include_usage=bool(wire.stream_options and wire.stream_options.include_usage),
        timings=bool(wire.timings),
        spell=request.spell,
    )
