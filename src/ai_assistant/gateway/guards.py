"""What every request passes before it is routed: error boundary, strangers, keys.

Each guard is one ASGI layer with one concern; `app.py` stacks them.
"""

import asyncio
import logging
import re
from ipaddress import ip_address

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ai_assistant.gateway.access.ring import KeyRing
from ai_assistant.gateway.errors import MethodNotAllowed, StrangerRefused
from ai_assistant.gateway.exchange import ClientGone, Exchange, Header, header, new_id
from ai_assistant.gateway.keys import Caller
from ai_assistant.gateway.kv_blocks import PATH as KV_BLOCKS
from ai_assistant.gateway.routing_wishes import TOLD
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.protocol.errors import (
    AssistantError,
    InvalidRequest,
    NotFound,
    RequestTooLarge,
    ShuttingDown,
)

_log = logging.getLogger(__name__)

_OPEN_PAGES = {"/", "/favicon.ico", "/console", "/console/"}
_OPEN_PATHS = {"/livez", "/readyz", "/health", "/v1/health"} | _OPEN_PAGES
_OPEN_PREFIX = "/console/static/"
_LIMITED_BY_THEMSELVES = {"/v1/files", KV_BLOCKS}
_EXPOSED = b"x-request-id, retry-after, " + TOLD
_HEADER_NAMES = re.compile(r"[A-Za-z0-9_-]+(, ?[A-Za-z0-9_-]+)*")


def is_loopback(host: str) -> bool:
    """Whether that name or address can only mean this machine."""
    host = host.removeprefix("[").removesuffix("]").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Boundary:
    """Outermost: names the request and turns whatever is raised into an answer."""

    def __init__(self, app: ASGIApp, settings: GatewaySettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        scope["ai_assistant.request_id"] = request_id = new_id()
        scope["ai_assistant.headers"] = headers = [(b"x-request-id", request_id.encode())]
        started = False

        async def send_marked(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        try:
            await self._app(scope, receive, send_marked)
        except (ClientGone, ClientDisconnect):
            _log.debug("request %s: the client left", request_id)
        except (Exception, asyncio.CancelledError) as error:
            if started:
                raise
            await self._answer(error, Exchange(scope, receive, send_marked, self._settings))

    async def _answer(self, error: BaseException, exchange: Exchange) -> None:
        try:
            await exchange.send_error(_named(error, exchange.request_id))
        except ClientGone:
            _log.debug("request %s: the client left", exchange.request_id)


def _named(error: BaseException, request_id: str) -> AssistantError:
    if isinstance(error, AssistantError):
        return error
    if isinstance(error, asyncio.CancelledError):
        return ShuttingDown("The server is stopping; send the request again in a moment.")
    if isinstance(error, HTTPException):
        return _from_http(error)
    _log.error("request %s failed", request_id, exc_info=error)
    return AssistantError(f"Something went wrong here. See the log: {request_id}.")


def _from_http(error: HTTPException) -> AssistantError:
    if error.status_code == 404:
        return NotFound("No such address. Try /v1/chat/completions or /v1/models.")
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        return MethodNotAllowed(f"Use {allowed} for this address.")
    return InvalidRequest(error.detail)


class StrangerGuard:
    """Refuses web pages of other origins, and host names that a page may have rebound to us."""

    def __init__(self, app: ASGIApp, settings: GatewaySettings, ring: KeyRing) -> None:
        self._app = app
        self._ring = ring
        self._origins = {origin.rstrip("/").lower() for origin in settings.allowed_origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = header(scope, b"host") or ""
        if not self._ring.demanded and not is_loopback(_host_name(host)):
            raise StrangerRefused(
                "Without an API key only loopback host names are served, such as localhost."
            )
        origin = header(scope, b"origin")
        if origin is not None and not _same_origin(origin, host):
            self._check(origin)
            scope["ai_assistant.headers"] += _cors_headers(origin)
            if scope["method"] == "OPTIONS" and header(scope, b"access-control-request-method"):
                await _answer_preflight(scope, send)
                return
        await self._app(scope, receive, send)

    def _check(self, origin: str) -> None:
        if origin.lower() not in self._origins and "*" not in self._origins:
            raise StrangerRefused(
                "Web pages of this origin may not call; add it to allowed_origins to let them."
            )


def _host_name(host: str) -> str:
    return host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]


def _same_origin(origin: str, host: str) -> bool:
    return bool(host) and origin.partition("://")[2].lower() == host.lower()


def _cors_headers(origin: str) -> list[Header]:
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", _EXPOSED),
        (b"vary", b"origin"),
    ]


async def _answer_preflight(scope: Scope, send: Send) -> None:
    wanted = header(scope, b"access-control-request-headers") or ""
    if not _HEADER_NAMES.fullmatch(wanted):
        wanted = "authorization, content-type, x-api-key"
    headers = [
        (b"access-control-allow-methods", b"GET, POST, DELETE, OPTIONS"),
        (b"access-control-allow-headers", wanted.encode("latin-1")),
        (b"access-control-allow-private-network", b"true"),
        (b"access-control-max-age", b"600"),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


class SizeGuard:
    """Refuses a body that is too long before all of it has arrived."""

    def __init__(self, app: ASGIApp, settings: GatewaySettings) -> None:
        self._app = app
        self._limit = settings.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in _LIMITED_BY_THEMSELVES:
            await self._app(scope, receive, send)
            return
        length = header(scope, b"content-length")
        if length is None:  # Chunked, or no body at all.
            receive = self._counted(receive)
        elif int(length) > self._limit:
            raise self._error()
        await self._app(scope, receive, send)

    def _counted(self, receive: Receive) -> Receive:
        size = 0

        async def receive_counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._limit:
                raise self._error()
            return message

        return receive_counted

    def _error(self) -> RequestTooLarge:
        return RequestTooLarge(f"The body is larger than {self._limit} bytes; send a smaller one.")


class KeyGuard:
    """Demands a key, where keys are set, except for health and the console's static pages."""

    def __init__(self, app: ASGIApp, ring: KeyRing) -> None:
        self._app = app
        self._ring = ring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._ring.demanded and not _is_open(scope):
            self._admit(scope)
        await self._app(scope, receive, send)

    def _admit(self, scope: Scope) -> None:
        caller = self._caller(scope)
        scope["ai_assistant.caller"] = caller
        if caller.name:  # The console keeps conversations by this; keys without a name share.
            scope.setdefault("state", {})["tenant"] = caller.name

    def _caller(self, scope: Scope) -> Caller:
        scheme, _, bearer = (header(scope, b"authorization") or "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else ""
        return self._ring.caller((given or header(scope, b"x-api-key") or "").encode("latin-1"))


def _is_open(scope: Scope) -> bool:
    path: str = scope["path"]
    reads = scope["method"] in ("GET", "HEAD")
    return reads and (path in _OPEN_PATHS or path.startswith(_OPEN_PREFIX))
