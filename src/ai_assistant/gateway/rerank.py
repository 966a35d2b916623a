"""POST /v1/rerank: how well each of several documents answers a query."""

from typing import Annotated, Any

import msgspec

from ai_assistant.gateway.decoding import decode
from ai_assistant.gateway.errors import invalid
from ai_assistant.gateway.exchange import Exchange
from ai_assistant.gateway.models import named_or_default
from ai_assistant.gateway.vectors import numbers
from ai_assistant.gateway.wanted import while_wanted
from ai_assistant.protocol.errors import UnsupportedFeature
from ai_assistant.protocol.requests import EmbedRequest, TextPrompt
from ai_assistant.protocol.worker import Service

_MAX_DOCUMENTS = 2048


class Document(msgspec.Struct):
    """A document as an object."""

    text: str


class RerankBody(msgspec.Struct):
    """The body, as Jina and Cohere defined it."""

    query: str
    documents: list[str | Document]
    model: str | None = None
    top_n: Annotated[int, msgspec.Meta(ge=1)] | None = None
    return_documents: bool | None = None


_decoder = msgspec.json.Decoder(RerankBody)


async def rerank(exchange: Exchange, service: Service) -> None:
    """The documents' places and scores, the best one first."""
    wire = decode(_decoder, await exchange.body())
    texts = [entry if isinstance(entry, str) else entry.text for entry in wire.documents]
    request = _to_request(wire, texts, exchange.request_id, named_or_default(wire.model, service))
    found = await while_wanted(exchange, service.embed(request))
    if found.dimensions != 1:
        raise UnsupportedFeature(
            "This model gives embeddings and no relevance scores: ask a reranking model.",
            param="model",
        )
    scores = [numbers(vector)[0] for vector in found.vectors]
    best = sorted(range(len(scores)), key=lambda index: -scores[index])[: wire.top_n]
    results: list[dict[str, Any]] = [
        {"index": index, "relevance_score": scores[index]} for index in best
    ]
    if wire.return_documents:
        results = [entry | {"document": {"text": texts[entry["index"]]}} for entry in results]
    usage = {"prompt_tokens": found.prompt_tokens, "total_tokens": found.prompt_tokens}
    await exchange.send_object(
        {"object": "list", "model": request.model, "results": results, "usage": usage}
    )


def _to_request(wire: RerankBody, texts: list[str], request_id: str, model: str) -> EmbedRequest:
    if not wire.query:
        raise invalid("query", "must not be empty")
    if not texts:
        raise invalid("documents", "expected at least one")
    if len(texts) > _MAX_DOCUMENTS:
        raise invalid("documents", f"at most {_MAX_DOCUMENTS} in one request")
    inputs = tuple(map(TextPrompt, texts))
    return EmbedRequest(request_id=request_id, model=model, inputs=inputs, query=wire.query)
