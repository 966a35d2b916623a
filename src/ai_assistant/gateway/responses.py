"""POST /v1/responses and what belongs to it: OpenAI's Responses API."""

import time
from typing import Any

import msgspec

from ai_assistant.gateway.answers_responses import ResponsesAnswer
from ai_assistant.gateway.exchange import Exchange
from ai_assistant.gateway.generation import reply
from ai_assistant.gateway.models import named_or_default
from ai_assistant.gateway.responses_shelf import ResponsesShelf
from ai_assistant.gateway.urgency import served_tier, standing
from ai_assistant.gateway.wanted import while_wanted
from ai_assistant.gateway.wire_common import CommonFields
from ai_assistant.gateway.wire_responses import (
    ResponseBody,
    new_messages,
    read_response,
    to_prompt,
    to_request,
)
from ai_assistant.gateway.wire_responses_tools import custom_names
from ai_assistant.protocol.requests import ChatMessage, GenerateRequest, TokenizeRequest
from ai_assistant.protocol.worker import Service


class Responses:
    """The handlers, and the responses that may be continued."""

    def __init__(self) -> None:
        self._shelf = ResponsesShelf()

    async def create(self, exchange: Exchange, service: Service) -> None:
        """Answer a conversation, or the continuation of a kept one."""
        body = await exchange.body()
        wire = read_response(body)
        model = named_or_default(wire.model, service)
        who = standing(exchange, wire.priority, wire.service_tier)
        messages = self._conversation(wire, exchange)
        request = to_request(
            wire, messages, request_id=exchange.request_id, model=model, standing=who
        )

        def keep(response: dict[str, Any], said: ChatMessage) -> None:
            if wire.store is not False:
                self._shelf.put(who.tenant, (*messages, said), response)

        tier = served_tier(CommonFields(service_tier=wire.service_tier), who)
        answer = ResponsesAnswer(
            exchange.request_id,
            _fixed(wire, request, body, tier),
            custom=custom_names(wire.tools or []),
            keep=keep,
        )
        await reply(exchange, service, [request], answer, stream=bool(wire.stream))

    async def count(self, exchange: Exchange, service: Service) -> None:
        """How many tokens the conversation has, with its tools, as the model will read it."""
        wire = read_response(await exchange.body())
        request = TokenizeRequest(
            request_id=exchange.request_id,
            model=named_or_default(wire.model, service),
            prompt=to_prompt(wire, self._conversation(wire, exchange)),
        )
        found = await while_wanted(exchange, service.tokenize(request))
        count = {"object": "response.input_tokens", "input_tokens": len(found.tokens)}
        await exchange.send_object(count)

    async def show(self, exchange: Exchange, service: Service) -> None:
        """A kept response."""
        kept = self._shelf.get(exchange.caller.tenant, exchange.scope["path_params"]["id"])
        await exchange.send_object(kept.response)

    async def delete(self, exchange: Exchange, service: Service) -> None:
        """Forget a kept response."""
        response_id = exchange.scope["path_params"]["id"]
        self._shelf.remove(exchange.caller.tenant, response_id)
        await exchange.send_object({"id": response_id, "object": "response", "deleted": True})

    def _conversation(self, wire: ResponseBody, exchange: Exchange) -> tuple[ChatMessage, ...]:
        added = new_messages(wire)
        earlier = wire.previous_response_id
        if not earlier:
            return added
        kept = self._shelf.get(exchange.caller.tenant, earlier, "previous_response_id")
        return (*kept.messages, *added)


class _Echo(msgspec.Struct, kw_only=True):
    """Fields that the response repeats as they came."""

    instructions: Any = None
    metadata: Any = None
    parallel_tool_calls: Any = True
    reasoning: Any = None
    text: Any = None
    tool_choice: Any = "auto"
    tools: Any = None
    truncation: Any = "disabled"


_echoes = msgspec.json.Decoder(_Echo)


def _fixed(
    wire: ResponseBody, request: GenerateRequest, body: bytes, tier: str | None
) -> dict[str, Any]:
    """The fields of the response that are known before it begins."""
    echo = _echoes.decode(body)
    return {
        "id": f"resp_{request.request_id}",
        "object": "response",
        "created_at": int(time.time()),
        "model": request.model,
        "error": None,
        "incomplete_details": None,
        "instructions": echo.instructions,
        "metadata": echo.metadata or {},
        "parallel_tool_calls": echo.parallel_tool_calls is not False,
        "tool_choice": echo.tool_choice or "auto",
        "tools": echo.tools or [],
        "text": echo.text or {"format": {"type": "text"}},
        "reasoning": echo.reasoning or {"effort": None, "summary": None},
        "truncation": echo.truncation or "disabled",
        "temperature": wire.temperature,
        "top_p": wire.top_p,
        "top_logprobs": wire.top_logprobs,
        "max_output_tokens": wire.max_output_tokens,
        "previous_response_id": wire.previous_response_id,
        "store": wire.store is not False,
        "background": False,
        "service_tier": tier,
        "user": wire.user,
        "usage": None,
    }
