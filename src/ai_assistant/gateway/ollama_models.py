"""Ollama's lists and descriptions of models, and what of its store is not here."""

from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from ai_assistant.gateway.answers_ollama import NDJSON
from ai_assistant.gateway.errors import invalid
from ai_assistant.gateway.exchange import Exchange
from ai_assistant.gateway.wire_ollama import read_model
from ai_assistant.protocol.errors import ModelNotFound, UnsupportedFeature
from ai_assistant.protocol.status import ModelInfo, ModelStatus
from ai_assistant.protocol.worker import Service

API_VERSION = "0.14.0"
"""The version of Ollama whose API is spoken: clients refuse servers that seem too old."""
_NEVER = "2318-11-22T00:00:00Z"
_TAG = ":latest"


def known_name(name: str, service: Service) -> str:
    """A model's id without the tag that Ollama's clients put behind every name."""
    models = service.status().models
    if name.endswith(_TAG) and name not in {status.model.id for status in models}:
        return name.removesuffix(_TAG)
    return name


async def show_version(exchange: Exchange, service: Service) -> None:
    """GET /api/version."""
    own = service.status().version
    await exchange.send_object({"version": API_VERSION, "ai_assistant": own})


async def list_tags(exchange: Exchange, service: Service) -> None:
    """GET /api/tags: all models, loaded or not."""
    models = [_entry(status.model) for status in service.status().models]
    await exchange.send_object({"models": models})


async def list_running(exchange: Exchange, service: Service) -> None:
    """GET /api/ps: the models in memory."""
    ready = [status for status in service.status().models if status.state == "ready"]
    await exchange.send_object({"models": [_running(status) for status in ready]})


async def show(exchange: Exchange, service: Service) -> None:
    """POST /api/show: one model."""
    status = _find(await exchange.body(), service)
    model, context = status.model, _context(status)
    architecture = model.architecture
    facts = {
        "general.architecture": architecture,
        "general.name": model.name,
        "general.parameter_count": model.parameters,
        f"{architecture}.context_length": context,
    }
    await exchange.send_object(
        {
            "license": model.licence or "",
            "modelfile": f"FROM {model.id}\n",
            "parameters": f"num_ctx {context}",
            "template": "",
            "details": _details(model),
            "model_info": facts,
            "capabilities": ["embedding"] if model.embedding else ["completion", "tools"],
            "modified_at": _modified(model),
        }
    )


async def pull(exchange: Exchange, service: Service) -> None:
    """POST /api/pull: done if the model is here, else not possible yet."""
    body = await exchange.body()
    try:
        _find(body, service)
    except ModelNotFound as error:
        raise UnsupportedFeature(
            f"{error.message} Models are not downloaded on request yet: get a GGUF file and "
            "serve it with `ai-assistant serve --model FILE`.",
            param="model",
        ) from None
    done = b'{"status":"success"}'
    if read_model(body).stream is False:
        await exchange.send_json(done)
        return
    await exchange.start_stream(NDJSON)
    await exchange.send_events(done + b"\n", last=True)


async def refuse(exchange: Exchange, service: Service) -> None:
    """What would change the models of the node."""
    path = exchange.scope["path"]
    raise UnsupportedFeature(
        f"{path}: models are not changed through this API yet; the files that "
        "`ai-assistant serve --model FILE` names are served."
    )


def _find(body: bytes, service: Service) -> ModelStatus:
    wire = read_model(body)
    given = wire.model or wire.name
    if not given:
        raise invalid("model", "this field is required")
    name = known_name(given, service)
    for status in service.status().models:
        if status.model.id == name:
            return status
    raise ModelNotFound(f"The model {given!r} is not here.", param="model")


def _entry(model: ModelInfo) -> dict[str, Any]:
    return {
        "name": model.id,
        "model": model.id,
        "modified_at": _modified(model),
        "size": model.size_bytes,
        "digest": _identity(model),
        "details": _details(model),
    }


def _running(status: ModelStatus) -> dict[str, Any]:
    model, engine = status.model, status.engine
    return {
        **_entry(model),
        "size": engine.memory_bytes if engine else model.size_bytes,
        "size_vram": 0,
        "context_length": _context(status),
        "expires_at": _NEVER,
    }


def _details(model: ModelInfo) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": model.architecture,
        "families": [model.architecture],
        "parameter_size": _count(model.parameters),
        "quantization_level": model.quantisation,
    }


def _context(status: ModelStatus) -> int:
    return status.engine.context_limit if status.engine else status.model.context_train


def _identity(model: ModelInfo) -> str:
    """Names the file, not its content: that would have to be read as a whole."""
    return sha256(msgspec.json.encode([model.path, model.size_bytes, _modified(model)])).hexdigest()


def _modified(model: ModelInfo) -> str:
    try:
        seconds = Path(model.path).stat().st_mtime
    except OSError:
        seconds = 0.0
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _count(parameters: int) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if parameters >= size:
            return f"{parameters / size:.1f}{unit}"
    return str(parameters)
