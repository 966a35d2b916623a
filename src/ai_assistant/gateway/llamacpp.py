"""What llama.cpp's server offers beside OpenAI's API: tokens, templates, properties and slots."""

from typing import Any
from urllib.parse import parse_qs

import msgspec

from ai_assistant.gateway.decoding import decode
from ai_assistant.gateway.exchange import Exchange
from ai_assistant.gateway.models import named_or_default
from ai_assistant.gateway.wanted import while_wanted
from ai_assistant.gateway.wire_chat import read_chat, to_prompt
from ai_assistant.gateway.wire_completions import Token
from ai_assistant.protocol.chunks import Tokenization
from ai_assistant.protocol.errors import ModelNotFound
from ai_assistant.protocol.requests import Prompt, TextPrompt, TokenizeRequest, TokenPrompt
from ai_assistant.protocol.status import ModelStatus
from ai_assistant.protocol.worker import Service


class TokenizeBody(msgspec.Struct):
    """POST /tokenize."""

    content: str
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False
    model: str | None = None


class DetokenizeBody(msgspec.Struct):
    """POST /detokenize."""

    tokens: list[Token]
    model: str | None = None


_texts = msgspec.json.Decoder(TokenizeBody)
_tokens = msgspec.json.Decoder(DetokenizeBody)


async def tokenize(exchange: Exchange, service: Service) -> None:
    """A text's tokens."""
    wire = decode(_texts, await exchange.body())
    found = await _read(
        exchange,
        service,
        wire.model,
        TextPrompt(wire.content),
        add_special=wire.add_special,
        parse_special=wire.parse_special,
        pieces=wire.with_pieces,
    )
    tokens: list[Any] = list(found.tokens)
    if wire.with_pieces:
        pairs = zip(found.tokens, found.pieces, strict=True)
        tokens = [{"id": token, "piece": _piece(piece)} for token, piece in pairs]
    await exchange.send_object({"tokens": tokens})


async def detokenize(exchange: Exchange, service: Service) -> None:
    """The text of tokens."""
    wire = decode(_tokens, await exchange.body())
    found = await _read(exchange, service, wire.model, TokenPrompt(tuple(wire.tokens)))
    await exchange.send_object({"content": found.text})


async def apply_template(exchange: Exchange, service: Service) -> None:
    """A chat request's prompt as the text that the model reads."""
    wire = read_chat(await exchange.body())
    found = await _read(exchange, service, wire.model, to_prompt(wire))
    await exchange.send_object({"prompt": found.text})


async def show_props(exchange: Exchange, service: Service) -> None:
    """What a model is served with. Wakes none."""
    status = _status(exchange, service)
    context, slots = _places(status)
    await exchange.send_object(
        {
            "default_generation_settings": {"n_ctx": context, "params": {}},
            "total_slots": slots,
            "model_alias": status.model.id,
            "model_path": status.model.path,
            "modalities": {"vision": False, "audio": False},
            "build_info": f"ai-assistant {service.status().version}",
            "is_sleeping": status.state == "unloaded",
        }
    )


async def show_slots(exchange: Exchange, service: Service) -> None:
    """How many of a model's slots are at work; their numbers mean nothing. Wakes none."""
    status = _status(exchange, service)
    context, slots = _places(status)
    running = status.engine.running if status.engine else 0
    await exchange.send_object(
        [{"id": slot, "n_ctx": context, "is_processing": slot < running} for slot in range(slots)]
    )


async def _read(
    exchange: Exchange,
    service: Service,
    model: str | None,
    prompt: Prompt,
    *,
    add_special: bool = True,
    parse_special: bool = True,
    pieces: bool = False,
) -> Tokenization:
    request = TokenizeRequest(
        request_id=exchange.request_id,
        model=named_or_default(model, service),
        prompt=prompt,
        add_special=add_special,
        parse_special=parse_special,
        pieces=pieces,
    )
    return await while_wanted(exchange, service.tokenize(request))


def _piece(piece: bytes) -> str | list[int]:
    """Text where it is whole characters, else the bytes: as llama.cpp tells it."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)


def _status(exchange: Exchange, service: Service) -> ModelStatus:
    """Of the model that `?model=` names, else of the default one."""
    query = parse_qs(exchange.scope["query_string"].decode("latin-1"))
    wanted = query.get("model", [service.default_model() or ""])[0]
    for status in service.status().models:
        if status.model.id == wanted:
            return status
    raise ModelNotFound(
        "No model of that name is here; GET /v1/models lists those that are.", param="model"
    )


def _places(status: ModelStatus) -> tuple[int, int]:
    """Tokens of context and number of slots; of a model that is not loaded, what it could have."""
    engine = status.engine
    return (engine.context_limit, engine.slots) if engine else (status.model.context_train, 0)
