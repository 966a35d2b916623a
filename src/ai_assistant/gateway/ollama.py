"""POST /api/chat, /api/generate, /api/embed and /api/embeddings: Ollama's API."""

import time

from ai_assistant.gateway.answers_ollama import OllamaAnswer, nanoseconds
from ai_assistant.gateway.errors import invalid
from ai_assistant.gateway.exchange import Exchange
from ai_assistant.gateway.generation import reply
from ai_assistant.gateway.ollama_models import known_name
from ai_assistant.gateway.urgency import standing
from ai_assistant.gateway.vectors import numbers
from ai_assistant.gateway.wanted import while_wanted
from ai_assistant.gateway.wire_ollama import (
    GenerateFields,
    OllamaEmbed,
    chat_prompt,
    read_chat,
    read_embed,
    read_generate,
    single_prompt,
    to_request,
)
from ai_assistant.protocol.chunks import Embeddings
from ai_assistant.protocol.errors import UnsupportedFeature
from ai_assistant.protocol.requests import EmbedRequest, Prompt, TextPrompt, TokenizeRequest
from ai_assistant.protocol.worker import Service

_MAX_INPUTS = 2048


async def chat(exchange: Exchange, service: Service) -> None:
    """Answer a conversation; without messages, load the model."""
    wire = read_chat(await exchange.body())
    model = known_name(wire.model, service)
    answer = OllamaAnswer(wire.model, exchange.record, kind="chat")
    if not wire.messages:
        await _load(exchange, service, wire, model, answer)
    else:
        await _generate(exchange, service, wire, chat_prompt(wire), model, answer)


async def generate(exchange: Exchange, service: Service) -> None:
    """Answer a prompt; without one, load the model."""
    wire = read_generate(await exchange.body())
    model = known_name(wire.model, service)
    answer = OllamaAnswer(wire.model, exchange.record, kind="generate")
    if not wire.prompt:
        await _load(exchange, service, wire, model, answer)
    else:
        await _generate(exchange, service, wire, single_prompt(wire), model, answer)


async def embed(exchange: Exchange, service: Service) -> None:
    """One vector for each input."""
    wire = read_embed(await exchange.body())
    given = wire.input
    inputs = ([given] if given else []) if isinstance(given, str) else given or []
    found = await _vectors(exchange, service, wire, inputs, "input") if inputs else None
    vectors = [numbers(vector) for vector in found.vectors] if found else []
    spent = nanoseconds(time.perf_counter() - exchange.record.began)
    await exchange.send_object(
        {
            "model": wire.model,
            "embeddings": vectors,
            "total_duration": spent,
            "load_duration": 0,
            "prompt_eval_count": found.prompt_tokens if found else 0,
        }
    )


async def embed_one(exchange: Exchange, service: Service) -> None:
    """The older form: one prompt, one vector."""
    wire = read_embed(await exchange.body())
    prompts = [wire.prompt] if wire.prompt else []
    found = await _vectors(exchange, service, wire, prompts, "prompt") if prompts else None
    await exchange.send_object({"embedding": numbers(found.vectors[0]) if found else []})


async def _generate(
    exchange: Exchange,
    service: Service,
    wire: GenerateFields,
    prompt: Prompt,
    model: str,
    answer: OllamaAnswer,
) -> None:
    who = standing(exchange)
    request = to_request(wire, prompt, request_id=exchange.request_id, model=model, standing=who)
    await reply(exchange, service, [request], answer, stream=wire.stream is not False)


async def _load(
    exchange: Exchange, service: Service, wire: GenerateFields, model: str, answer: OllamaAnswer
) -> None:
    if str(wire.keep_alive) in ("0", "0.0", "0s", "0m"):
        raise UnsupportedFeature(
            "keep_alive: models are not unloaded on request; they make room by themselves when "
            "another one needs it.",
            param="keep_alive",
        )
    request = TokenizeRequest(request_id=exchange.request_id, model=model, prompt=TextPrompt(""))
    await while_wanted(exchange, service.tokenize(request))
    await exchange.send_json(answer.loaded())


async def _vectors(
    exchange: Exchange, service: Service, wire: OllamaEmbed, inputs: list[str], param: str
) -> Embeddings:
    if len(inputs) > _MAX_INPUTS:
        raise invalid(param, f"at most {_MAX_INPUTS} in one request")
    if not all(inputs):
        raise invalid(param, "must not be empty")
    request = EmbedRequest(
        request_id=exchange.request_id,
        model=known_name(wire.model, service),
        inputs=tuple(map(TextPrompt, inputs)),
    )
    found = await while_wanted(exchange, service.embed(request))
    if wire.dimensions not in (None, 0, found.dimensions):
        raise UnsupportedFeature(
            f"dimensions: this model's vectors have {found.dimensions}; leave the field out.",
            param="dimensions",
        )
    return found
