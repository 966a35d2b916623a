"""POST /v1/chat/completions."""

import time

from ai_assistant.gateway.answers import Head
from ai_assistant.gateway.answers_chat import ChatAnswer
from ai_assistant.gateway.exchange import Exchange
from ai_assistant.gateway.generation import reply
from ai_assistant.gateway.models import fingerprint, named_or_default
from ai_assistant.gateway.wire_chat import ChatBody, read_chat, to_request
from ai_assistant.protocol.worker import Service


async def complete_chat(exchange: Exchange, service: Service) -> None:
    """Answer a conversation."""
    wire = read_chat(await exchange.body())
    model = named_or_default(wire.model, service)
    request = to_request(wire, request_id=exchange.request_id, model=model)
    answer = _answer(wire, request_id=exchange.request_id, model=model)
    await reply(exchange, service, [request], answer, stream=bool(wire.stream))


def _answer(wire: ChatBody, *, request_id: str, model: str) -> ChatAnswer:
    head = Head(
        id=f"chatcmpl-{request_id}",
        created=int(time.time()),
        model=model,
        system_fingerprint=fingerprint(),
    )
    return ChatAnswer(
        head,
        n=wire.n or 1,
        logprobs=bool(wire.logprobs),
        include_usage=bool(wire.stream_options and wire.stream_options.include_usage),
        timings=bool(wire.timings),
    )
