"""POST /v1/completions."""

import time

from ai_assistant.gateway.answers import Head
from ai_assistant.gateway.answers_completions import CompletionAnswer
from ai_assistant.gateway.exchange import Exchange
from ai_assistant.gateway.generation import reply
from ai_assistant.gateway.models import fingerprint, named_or_default
from ai_assistant.gateway.urgency import served_tier, standing_of
from ai_assistant.gateway.wire_completions import (
    echoes,
    read_completion,
    to_logprobs,
    to_requests,
)
from ai_assistant.protocol.worker import Service


async def complete_text(exchange: Exchange, service: Service) -> None:
    """Go on with a text, or with each of several."""
    wire = read_completion(await exchange.body())
    model = named_or_default(wire.model, service)
    standing = standing_of(exchange, wire)
    requests = to_requests(wire, request_id=exchange.request_id, model=model, standing=standing)
    head = Head(
        id=f"cmpl-{exchange.request_id}",
        created=int(time.time()),
        model=model,
        system_fingerprint=fingerprint(),
        service_tier=served_tier(wire, standing),
    )
    answer = CompletionAnswer(
        head,
        echoes=echoes(wire, requests),
        n=wire.n or 1,
        logprobs=to_logprobs(wire) is not None,
        include_usage=bool(wire.stream_options and wire.stream_options.include_usage),
        timings=bool(wire.timings),
        spell=requests[0].spell,
    )
    await reply(exchange, service, requests, answer, stream=bool(wire.stream))
