"""POST /v1/embeddings."""

from base64 import b64encode
from typing import Any, Literal

import msgspec

from ai_assistant.gateway.decoding import decode
from ai_assistant.gateway.errors import invalid
from ai_assistant.gateway.exchange import Exchange
from ai_assistant.gateway.models import named_or_default
from ai_assistant.gateway.vectors import numbers
from ai_assistant.gateway.wanted import while_wanted
from ai_assistant.gateway.wire_completions import Token, to_prompts
from ai_assistant.protocol.errors import UnsupportedFeature
from ai_assistant.protocol.requests import EmbedRequest, TextPrompt
from ai_assistant.protocol.worker import Service

_MAX_INPUTS = 2048


class EmbeddingBody(msgspec.Struct):
    """The body."""

    input: str | list[str | Token | list[Token]]
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None


_decoder = msgspec.json.Decoder(EmbeddingBody)


async def embed(exchange: Exchange, service: Service) -> None:
    """One vector for each input."""
    wire = decode(_decoder, await exchange.body())
    request = _to_request(wire, exchange.request_id, named_or_default(wire.model, service))
    found = await while_wanted(exchange, service.embed(request))
    if wire.dimensions is not None and wire.dimensions != found.dimensions:
        raise UnsupportedFeature(
            f"dimensions: this model's vectors have {found.dimensions}; leave the field out.",
            param="dimensions",
        )
    usage = {"prompt_tokens": found.prompt_tokens, "total_tokens": found.prompt_tokens}
    data = [
        {"object": "embedding", "index": index, "embedding": _encoded(vector, wire)}
        for index, vector in enumerate(found.vectors)
    ]
    await exchange.send_object(
        {"object": "list", "data": data, "model": request.model, "usage": usage}
    )


def _to_request(wire: EmbeddingBody, request_id: str, model: str) -> EmbedRequest:
    inputs = to_prompts(wire.input, "input")
    if len(inputs) > _MAX_INPUTS:
        raise invalid("input", f"at most {_MAX_INPUTS} in one request")
    for i, prompt in enumerate(inputs):
        if isinstance(prompt, TextPrompt) and not prompt.text:
            raise invalid(f"input[{i}]" if len(inputs) > 1 else "input", "must not be empty")
    return EmbedRequest(request_id=request_id, model=model, inputs=inputs)


def _encoded(vector: bytes, wire: EmbeddingBody) -> Any:
    if wire.encoding_format == "base64":
        return b64encode(vector).decode()
    return numbers(vector)
