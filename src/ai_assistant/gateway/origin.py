"""How a request came, made in one place, and put on everything that an exchange asks for."""

from collections.abc import AsyncIterator
from typing import Any, TypeVar

from msgspec import structs

from ai_assistant.gateway.exchange import Exchange
from ai_assistant.gateway.routing_wishes import wishes_of
from ai_assistant.gateway.said import both, in_headers, narrower
from ai_assistant.gateway.urgency import standing
from ai_assistant.protocol.chunks import Embeddings, TokenChunk, Tokenization
from ai_assistant.protocol.requests import (
    Bounds,
    EmbedRequest,
    GenerateRequest,
    Origin,
    TokenizeRequest,
)
from ai_assistant.protocol.status import NodeStatus
from ai_assistant.protocol.worker import Service

Request = TypeVar("Request", EmbedRequest, TokenizeRequest)

CARRIED = "ai_assistant.origin"
"""In the scope of a line of a batch: what was known when the batch was given."""


def origin_of(exchange: Exchange) -> Origin:
    """Of the request that is being answered; call it after its body was read."""
    carried: Origin = exchange.scope.get(CARRIED) or Origin()
    said = both(in_headers(exchange.scope["headers"]), exchange.said)
    own, before = exchange.caller.bounds, carried.bounds
    bounds = Bounds(
        labels=tuple(dict.fromkeys((*own.labels, *before.labels, *said.labels))),
        regions=narrower(narrower(own.regions, before.regions), said.regions),
    )
    return structs.replace(
        carried,
        endpoint=exchange.scope["path"],
        client=carried.client or exchange.header(b"user-agent") or "",
        conversation=said.conversation or carried.conversation,
        bounds=bounds,
    )


class Marked:
    """The service as one exchange sees it: no handler can forget to say whose a request is."""

    def __init__(self, service: Service, exchange: Exchange) -> None:
        self._service = service
        self._exchange = exchange

    def generate(self, request: GenerateRequest) -> AsyncIterator[TokenChunk]:
        """The answer's pieces; the handler has said who and how urgent."""
        return self._service.generate(structs.replace(request, origin=origin_of(self._exchange)))

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """The vectors."""
        return await self._service.embed(self._of(request))

    async def tokenize(self, request: TokenizeRequest) -> Tokenization:
        """How the model reads a prompt."""
        return await self._service.tokenize(self._of(request))

    def status(self) -> NodeStatus:
        """The node's."""
        return self._service.status()

    def default_model(self) -> str | None:
        """The node's."""
        return self._service.default_model()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._service, name)

    def _of(self, request: Request) -> Request:
        who = standing(self._exchange)
        return structs.replace(
            request,
            tenant=who.tenant,
            priority=who.priority,
            wishes=wishes_of(self._exchange),
            origin=origin_of(self._exchange),
        )
