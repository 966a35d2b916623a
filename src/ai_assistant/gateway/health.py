"""GET /livez, /readyz, /health and /status. None of them wakes a model."""

import msgspec

from ai_assistant.gateway.exchange import Exchange
from ai_assistant.protocol.status import ModelState, NodeStatus
from ai_assistant.protocol.worker import Service

_OK = b'{"status":"ok"}'
_RETRY = [(b"retry-after", b"5")]


async def live(exchange: Exchange, service: Service) -> None:
    """The process answers."""
    await exchange.send_json(_OK)


async def ready(exchange: Exchange, service: Service) -> None:
    """The next request would be served: 200, else 503 in llama.cpp's words."""
    problem = _problem(service.status())
    if problem is None:
        await exchange.send_json(_OK)
        return
    error = {"code": 503, "message": problem, "type": "unavailable_error"}
    await exchange.send_json(msgspec.json.encode({"error": error}), 503, _RETRY)


async def show_status(exchange: Exchange, service: Service) -> None:
    """Everything the node knows of itself."""
    await exchange.send_object(service.status())


def _problem(status: NodeStatus) -> str | None:
    """Why nothing can be served: no model is ready, and the default one is not just unloaded."""
    states: set[ModelState] = {entry.state for entry in status.models}
    default = next((entry.state for entry in status.models if entry.default), "unloaded")
    if "ready" in states or default == "unloaded":
        return None
    return "Loading model" if default == "loading" else "The default model failed to load"
