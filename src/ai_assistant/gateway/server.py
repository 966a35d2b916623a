"""The HTTP server around the application: listens, says that it is ready, drains, ends."""

import asyncio
import contextlib
import errno
import socket
import time
from collections.abc import Callable, Generator

import uvicorn
from starlette.types import ASGIApp

from ai_assistant.gateway.app import check_exposure
from ai_assistant.gateway.http_protocol import BoundedHttp, bounded_by
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.protocol.errors import InvalidRequest

_BACKLOG = 2048
_KEEP_ALIVE_SECONDS = 75
_LAST_WORDS_SECONDS = 1.0
_LINGER_SECONDS, _LOOK_SECONDS = 2.0, 0.02
_OTHER_DESCRIPTORS = 256
"""Files, pipes to engines and the like."""


class AddressInUse(InvalidRequest):
    """Another program listens there already."""


def new_loop() -> asyncio.AbstractEventLoop:
    """The fastest event loop there is, for `asyncio.Runner(loop_factory=new_loop)`."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def serve(
    app: ASGIApp,
    settings: GatewaySettings,
    *,
    on_ready: Callable[[str], None],
    stop: asyncio.Event,
    has_keys: bool = False,
    awaited: Callable[[], bool] = lambda: False,
) -> None:
    """Serve until `stop` is set and running answers have ended, or `drain_seconds` have passed.

    `on_ready` gets the base address, such as http://127.0.0.1:7717. `has_keys`: the app demands
    keys that are not in the settings. `awaited`: another node will call once more, soon after
    `stop`. Raises `AddressInUse`.
    """
    check_exposure(settings, has_keys=has_keys or bool(settings.api_keys))
    _allow_descriptors(2 * settings.max_connections + _OTHER_DESCRIPTORS)
    listener = _listen(settings)
    server = _Server(_config(app, settings), lambda: on_ready(_address(settings, listener)))
    stopper = asyncio.create_task(_stop_when_told(server, stop, awaited))
    try:
        await server.serve(sockets=[listener])
    finally:
        stopper.cancel()
        await _end_what_runs(server)
        listener.close()


class _Server(uvicorn.Server):
    """uvicorn without its own ideas of signals."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Signals belong to the node."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()


def _config(app: ASGIApp, settings: GatewaySettings) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        http=bounded_by(settings),
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
    )
    config.timeout_graceful_shutdown = settings.drain_seconds  # type: ignore[assignment]
    return config


def _allow_descriptors(count: int) -> None:
    """Raise the system's limit on open files, as far as it lets us: often it is at 1024."""
    try:
        import resource
    except ImportError:  # Windows has no such limit.
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    endless = resource.RLIM_INFINITY
    wanted = count if hard == endless else min(count, hard)
    if soft != endless and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _listen(settings: GatewaySettings) -> socket.socket:
    host, port = settings.host, settings.port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family = found[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(
                f"Port {port} is in use on {host}: stop the other program or choose another port."
            ) from None
        raise InvalidRequest(f"Cannot listen on {host}, port {port}: {error.strerror}.") from None


def _address(settings: GatewaySettings, listener: socket.socket) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{listener.getsockname()[1]}"


async def _stop_when_told(
    server: uvicorn.Server, stop: asyncio.Event, awaited: Callable[[], bool]
) -> None:
    """Listen a moment longer where somebody is awaited: a server that stops takes no calls."""
    await stop.wait()
    end = time.monotonic() + _LINGER_SECONDS
    await asyncio.sleep(_LOOK_SECONDS)  # whoever is to be awaited is told by the same event
    while awaited() and time.monotonic() < end:  # noqa: ASYNC110 - it changes in several places
        await asyncio.sleep(_LOOK_SECONDS)
    server.should_exit = True


async def _end_what_runs(server: uvicorn.Server) -> None:
    """What the drain left over gets a moment for its last words, then its connection is cut."""
    for listening in server.servers if server.started else []:
        listening.close()
    tasks = set(server.server_state.tasks)
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_LAST_WORDS_SECONDS)
    for connection in list(server.server_state.connections):
        if isinstance(connection, BoundedHttp):
            connection.transport.abort()
