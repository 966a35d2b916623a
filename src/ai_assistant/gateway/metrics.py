"""GET /metrics: the node's figures in the words that Prometheus reads."""

import time

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ai_assistant.gateway.access.accounts import Accounts
from ai_assistant.gateway.access.figures import KeyCollector
from ai_assistant.gateway.exchange import Exchange
from ai_assistant.gateway.metrics_of_engines import EngineCollector
from ai_assistant.gateway.record import Record
from ai_assistant.protocol.worker import Service

_ENDPOINTS = frozenset(
    {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/files",
        "/v1/batches",
        "/v1/models",
        "/v1/responses",
        "/v1/responses/input_tokens",
        "/api/chat",
        "/api/generate",
        "/api/embed",
        "/api/embeddings",
        "/api/version",
        "/api/tags",
        "/api/ps",
        "/api/show",
        "/v1/rerank",
        "/tokenize",
        "/detokenize",
        "/apply-template",
        "/props",
        "/slots",
        "/livez",
        "/readyz",
        "/health",
        "/v1/health",
        "/status",
        "/metrics",
    }
)
_CLIENT_LEFT = 499
_FIRST_TOKEN = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_WHOLE = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """What is counted of requests, beside what the engines tell of themselves."""

    def __init__(self, service: Service, accounts: Accounts) -> None:
        self._registry = registry = CollectorRegistry()
        registry.register(EngineCollector(service))
        registry.register(KeyCollector(accounts))
        self._requests = Counter(
            "ai_assistant_http_requests",
            "Requests that were answered; status 499: the client left before.",
            ("endpoint", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "ai_assistant_http_request_duration_seconds",
            "From a request's head to the end of its answer.",
            ("endpoint",),
            buckets=_WHOLE,
            registry=registry,
        )
        self._first_token = Histogram(
            "ai_assistant_time_to_first_token_seconds",
            "From a request's head to the first piece of its answer.",
            ("model", "class"),
            buckets=_FIRST_TOKEN,
            registry=registry,
        )

    def add(self, collector: Collector) -> None:
        """Figures of somebody else."""
        self._registry.register(collector)

    def note(self, path: str, status: int, record: Record) -> None:
        """A request is over."""
        endpoint = _endpoint(path)
        self._requests.labels(endpoint, str(status)).inc()
        self._seconds.labels(endpoint).observe(time.perf_counter() - record.began)
        if record.first_token is not None and record.request is not None:
            request = record.request
            labels = (request.model, request.priority.name.lower())
            self._first_token.labels(*labels).observe(record.first_token)

    async def show(self, exchange: Exchange, service: Service) -> None:
        """All figures, in the format that the client prefers."""
        encode, content_type = choose_encoder(exchange.header(b"accept") or "")
        await exchange.send_text(encode(self._registry), content_type)


class Meter:
    """Outside of everything: sees the status that the client sees."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["ai_assistant.record"] = record = Record()
        status = _CLIENT_LEFT

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        finally:
            if scope["type"] == "http":
                self._metrics.note(scope["path"], status, record)


def _endpoint(path: str) -> str:
    """The address as a label: few, whatever clients ask for."""
    if path in _ENDPOINTS:
        return path
    for group in ("/v1/models/", "/v1/responses/", "/v1/files/", "/v1/batches/"):
        if path.startswith(group):
            return group + "{id}"
    return "/console" if path == "/" or path.startswith("/console") else "other"
