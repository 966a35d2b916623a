"""The endpoint as one ASGI application: routes, and the guards before them."""

from collections.abc import Awaitable, Callable, Sequence

from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from ai_assistant.gateway import llamacpp, ollama, ollama_models
from ai_assistant.gateway.access.access import Access
from ai_assistant.gateway.batches import job_routes
from ai_assistant.gateway.chat import complete_chat
from ai_assistant.gateway.completions import complete_text
from ai_assistant.gateway.door import DoorGuard
from ai_assistant.gateway.embeddings import embed
from ai_assistant.gateway.exchange import Exchange
from ai_assistant.gateway.guards import (
    Boundary,
    KeyGuard,
    SizeGuard,
    StrangerGuard,
    is_loopback,
)
from ai_assistant.gateway.health import live, ready, show_status
from ai_assistant.gateway.jobs_status import JobsCollector, StatusPage
from ai_assistant.gateway.may_wait import MayWait
from ai_assistant.gateway.messages import count_tokens, create_message
from ai_assistant.gateway.metrics import Meter, Metrics
from ai_assistant.gateway.models import list_models, show_model
from ai_assistant.gateway.origin import Marked
from ai_assistant.gateway.rerank import rerank
from ai_assistant.gateway.responses import Responses
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.jobs.jobs import Jobs
from ai_assistant.protocol.errors import InvalidRequest
from ai_assistant.protocol.worker import Service

Handler = Callable[[Exchange, Service], Awaitable[None]]
MakeRoute = Callable[[str, str, Handler], Route]
"""Of an address, a method and what answers it."""


def build_app(
    service: Service,
    settings: GatewaySettings,
    *,
    mounts: Sequence[BaseRoute] = (),
    jobs: Jobs | None = None,
    access: Access | None = None,
) -> ASGIApp:
    """The application; with `jobs` also files and batches. `access`: who may come in; without it
    the keys of the settings alone.

    Raises `InvalidRequest` for settings that would leave it unguarded.
    """
    access = access or Access(settings.api_keys)
    check_exposure(settings, has_keys=access.ring.demanded)
    metrics = Metrics(service, access.accounts)

    if jobs:
        metrics.add(JobsCollector(jobs))

    def route(path: str, method: str, handler: Handler) -> Route:
        return Route(path, _Endpoint(handler, service, settings, access), methods=[method])

    routes = [
        route("/v1/chat/completions", "POST", complete_chat),
        route("/v1/completions", "POST", complete_text),
        route("/v1/embeddings", "POST", embed),
        route("/v1/messages", "POST", create_message),
        route("/v1/messages/count_tokens", "POST", count_tokens),
        route("/v1/models", "GET", list_models),
        route("/v1/models/{id:path}", "GET", show_model),
        *response_routes(route),
        *llamacpp_routes(route),
        *ollama_routes(route),
        route("/livez", "GET", live),
        route("/readyz", "GET", ready),
        route("/health", "GET", ready),
        route("/v1/health", "GET", ready),
        route("/status", "GET", StatusPage(jobs).show if jobs else show_status),
        route("/metrics", "GET", metrics.show),
        *(job_routes(jobs, route) if jobs else ()),
        *mounts,
    ]
    app: ASGIApp = _Rooted(Router(routes))
    if jobs:
        app = MayWait(app, jobs, settings)
    app = SizeGuard(app, settings)
    app = DoorGuard(app, settings, tenants=lambda: access.ring.tenants)
    app = KeyGuard(app, access.ring)
    app = StrangerGuard(app, settings, access.ring)
    app = Boundary(app, settings)
    return Meter(app, metrics)


def response_routes(route: MakeRoute) -> list[Route]:
    """OpenAI's Responses API."""
    responses = Responses()
    return [
        route("/v1/responses", "POST", responses.create),
        route("/v1/responses/input_tokens", "POST", responses.count),
        route("/v1/responses/{id}", "GET", responses.show),
        route("/v1/responses/{id}", "DELETE", responses.delete),
    ]


def llamacpp_routes(route: MakeRoute) -> list[Route]:
    """What llama.cpp's server offers beside OpenAI's API."""
    return [
        *(route(path, "POST", rerank) for path in ("/v1/rerank", "/v1/reranking", "/rerank")),
        route("/tokenize", "POST", llamacpp.tokenize),
        route("/detokenize", "POST", llamacpp.detokenize),
        route("/apply-template", "POST", llamacpp.apply_template),
        route("/props", "GET", llamacpp.show_props),
        route("/slots", "GET", llamacpp.show_slots),
    ]


def ollama_routes(route: MakeRoute) -> list[Route]:
    """Ollama's API."""
    changes = [("create", "POST"), ("copy", "POST"), ("push", "POST"), ("delete", "DELETE")]
    return [
        route("/api/chat", "POST", ollama.chat),
        route("/api/generate", "POST", ollama.generate),
        route("/api/embed", "POST", ollama.embed),
        route("/api/embeddings", "POST", ollama.embed_one),
        route("/api/version", "GET", ollama_models.show_version),
        route("/api/tags", "GET", ollama_models.list_tags),
        route("/api/ps", "GET", ollama_models.list_running),
        route("/api/show", "POST", ollama_models.show),
        route("/api/pull", "POST", ollama_models.pull),
        *(route(f"/api/{name}", method, ollama_models.refuse) for name, method in changes),
    ]


def check_exposure(settings: GatewaySettings, *, has_keys: bool) -> None:
    """Beyond this machine a key is a must."""
    if not has_keys and not is_loopback(settings.host):
        raise InvalidRequest(
            f"The address {settings.host} can be reached from other machines: "
            "set an API key, or use 127.0.0.1."
        )


class _Endpoint:
    """A handler as an ASGI application."""

    def __init__(
        self, handler: Handler, service: Service, settings: GatewaySettings, access: Access
    ) -> None:
        self._handler = handler
        self._service = service
        self._settings = settings
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send, self._settings)
        with self._access.visit(exchange.caller, self._service) as service:
            await self._handler(exchange, Marked(service, exchange))


class _Rooted:
    """Makes the router raise its 404 and 405, so that they get our shape."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self._router
        await self._router(scope, receive, send)
