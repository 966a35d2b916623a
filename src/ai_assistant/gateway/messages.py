"""POST /v1/messages and /v1/messages/count_tokens: Anthropic's Messages API."""

from ai_assistant.gateway.answers_anthropic import AnthropicAnswer
from ai_assistant.gateway.exchange import Exchange
from ai_assistant.gateway.generation import reply
from ai_assistant.gateway.models import named_or_default
from ai_assistant.gateway.urgency import standing
from ai_assistant.gateway.wanted import while_wanted
from ai_assistant.gateway.wire_anthropic import (
    read_count,
    read_messages,
    to_prompt,
    to_request,
)
from ai_assistant.protocol.requests import TokenizeRequest
from ai_assistant.protocol.worker import Service

_TIERS = {"standard_only": "default"}
"""Anthropic's word where it differs from OpenAI's."""


async def create_message(exchange: Exchange, service: Service) -> None:
    """Answer a conversation."""
    wire = read_messages(await exchange.body())
    model = named_or_default(wire.model, service)
    tier = wire.service_tier
    who = standing(exchange, tier=_TIERS.get(tier, tier) if tier else None)
    request = to_request(wire, request_id=exchange.request_id, model=model, standing=who)
    answer = AnthropicAnswer(exchange.request_id, model, max_tokens=wire.max_tokens)
    await reply(exchange, service, [request], answer, stream=bool(wire.stream))


async def count_tokens(exchange: Exchange, service: Service) -> None:
    """How many tokens a conversation has, with its tools, as the model will read it."""
    wire = read_count(await exchange.body())
    model = named_or_default(wire.model, service)
    request = TokenizeRequest(request_id=exchange.request_id, model=model, prompt=to_prompt(wire))
    found = await while_wanted(exchange, service.tokenize(request))
    await exchange.send_object({"input_tokens": len(found.tokens)})
