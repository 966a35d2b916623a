"""GET /v1/models and /v1/models/{id}; which model a request means."""

import time
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from typing import Any

from ai_assistant.gateway.errors import invalid
from ai_assistant.gateway.exchange import Exchange
from ai_assistant.protocol.errors import ModelNotFound
from ai_assistant.protocol.status import ModelStatus
from ai_assistant.protocol.worker import Service

_STARTED = int(time.time())
_STATES = {"ready": "loaded"}
"""llama.cpp's words where they differ from ours."""


@cache
def fingerprint() -> str:
    """OpenAI's `system_fingerprint`: changes when this program does."""
    return f"fp_{sha256(version('ai-assistant').encode()).hexdigest()[:10]}"


def named_or_default(name: str | None, service: Service) -> str:
    """The model that a request means."""
    model = name or service.default_model()
    if not model:
        raise invalid("model", "this field is required, since no default model is set")
    return model


async def list_models(exchange: Exchange, service: Service) -> None:
    """All models, loaded or not."""
    data = [_describe(status) for status in service.status().models]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {}
    await exchange.send_object({"object": "list", "data": data, "has_more": False, **ends})


async def show_model(exchange: Exchange, service: Service) -> None:
    """One model; its id may hold slashes."""
    wanted = exchange.scope["path_params"]["id"]
    for status in service.status().models:
        if status.model.id == wanted:
            await exchange.send_object(_describe(status))
            return
    raise ModelNotFound(
        "No model of that name is here; GET /v1/models lists those that are.", param="model"
    )


def _describe(status: ModelStatus) -> dict[str, Any]:
    """OpenAI's fields, Anthropic's, and where other clients look for the context's length."""
    model = status.model
    context = status.engine.context_limit if status.engine else model.context_train
    return {
        "id": model.id,
        "object": "model",
        "created": _STARTED,
        "owned_by": "ai-assistant",
        "type": "model",
        "display_name": model.name,
        "created_at": datetime.fromtimestamp(_STARTED, UTC).isoformat(),
        "max_input_tokens": context,
        "max_model_len": context,
        "context_length": context,
        "meta": {
            "n_ctx": context,
            "n_ctx_train": model.context_train,
            "n_params": model.parameters,
            "size": model.size_bytes,
        },
        "status": {"value": _STATES.get(status.state, status.state), "progress": status.progress},
        "embedding": model.embedding,
        "default": status.default,
    }
