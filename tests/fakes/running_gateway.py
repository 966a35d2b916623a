"""The real gateway on a real port over a fake service, in a thread beside the test."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
from openai import OpenAI
from tests.fakes.fake_service import FakeService

from ai_assistant.gateway.app import build_app
from ai_assistant.gateway.server import new_loop, serve
from ai_assistant.gateway.settings import GatewaySettings

HELLO = {"messages": [{"role": "user", "content": "hi"}]}


def eventually(true: Callable[[], object], *, seconds: float = 5.0) -> None:
    """Fail unless it becomes true soon."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.005)


@dataclass
class RunningGateway:
    """One server: where it is and what it serves."""

    settings: GatewaySettings
    service: FakeService = field(default_factory=FakeService)
    url: str = ""
    ended: bool = False
    shared: httpx.Client = field(default_factory=lambda: _kept_open())
    """A client that keeps its connection."""

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port

    def client(self, key: str = "any") -> OpenAI:
        """The official client."""
        return OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=10)

    def post(self, path: str = "/v1/chat/completions", **options: Any) -> httpx.Response:
        return self.shared.post(self.url + path, **options)

    @staticmethod
    def as_json(value: Any) -> bytes:
        """JSON as careless clients write it: with NaN, Infinity and half a character."""
        return json.dumps(value).encode()

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.shared.get(self.url + path, **options)

    def error(self, status: int, path: str = "/v1/chat/completions", **options: Any) -> Any:
        """Post, expect an error with that status; gives the `error` object."""
        answer = self.post(path, **options)
        assert answer.status_code == status, answer.text
        assert answer.headers["x-request-id"]
        error = answer.json()["error"]
        assert {"message", "type", "code", "param"} <= set(error)
        return error

    def events(self, body: dict[str, Any], path: str = "/v1/chat/completions") -> list[Any]:
        """The events of a stream, decoded; the end mark and comments as text."""
        text = self.post(path, json={**body, "stream": True}).text
        assert text.endswith("\n\n")
        lines = text.removesuffix("\n\n").split("\n\n")
        return [_event(line) for line in lines]

    @contextmanager
    def connect(self, receive_buffer: int | None = None) -> Generator[socket.socket]:
        """A bare connection."""
        with socket.socket() as connection:
            if receive_buffer is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            connection.settimeout(10)
            connection.connect(("127.0.0.1", self.port))
            yield connection


def _on_any_port(settings: dict[str, Any]) -> GatewaySettings:
    return GatewaySettings(port=0, **settings)


def _kept_open() -> httpx.Client:
    return httpx.Client(trust_env=False, timeout=10, verify=False)


def _event(line: str) -> Any:
    if line.startswith("data: {"):
        return msgspec.json.decode(line.removeprefix("data: "))
    return line


def request_bytes(body: bytes, path: str = "/v1/chat/completions", *, length: int = 0) -> bytes:
    """A request as it goes over the wire; `length` is told instead of the true one."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length or len(body)}\r\n\r\n"
    )
    return head.encode() + body


class RunningGateways:
    """A loop in a thread, and the servers in it."""

    def __init__(self) -> None:
        self._loop = new_loop()
        self._stop = asyncio.Event()
        self._running: dict[GatewaySettings, RunningGateway] = {}
        self._serving: list[Any] = []
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def with_settings(self, **settings: Any) -> RunningGateway:
        """The server with those settings, its service as new."""
        wanted = _on_any_port(settings)
        if wanted not in self._running:
            self._running[wanted] = self._start(wanted, self._stop)
        gateway = self._running[wanted]
        gateway.service.forget()
        return gateway

    @contextmanager
    def alone(self, **settings: Any) -> Generator[tuple[RunningGateway, Callable[[], None]]]:
        """A server of the test's own, and the function that tells it to stop."""
        stop = asyncio.Event()
        gateway = self._start(_on_any_port(settings), stop)
        try:
            yield gateway, lambda: self._set(stop)
        finally:
            self._set(stop)
            gateway.shared.close()
            eventually(lambda: gateway.ended)

    def stop(self) -> None:
        """End everything."""
        self._set(self._stop)
        for gateway in self._running.values():
            gateway.shared.close()
        for serving in self._serving:
            serving.result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _set(self, event: asyncio.Event) -> None:
        self._loop.call_soon_threadsafe(event.set)

    def _start(self, settings: GatewaySettings, stop: asyncio.Event) -> RunningGateway:
        gateway = RunningGateway(settings)
        ready = threading.Event()

        def note(url: str) -> None:
            gateway.url = url
            ready.set()

        async def run() -> None:
            try:
                app = build_app(gateway.service, settings)
                await serve(app, settings, on_ready=note, stop=stop)
            finally:
                gateway.ended = True

        self._serving.append(asyncio.run_coroutine_threadsafe(run(), self._loop))
        assert ready.wait(5)
        return gateway
