"""A command that touches nothing of the user's, and a real gateway with a scripted service."""

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import click.testing
import pytest
import uvicorn
from tests.fakes.fake_node import FakeNode
from tests.fakes.fake_service import FakeService

from ai_assistant.cli.main import command
from ai_assistant.gateway.app import build_app
from ai_assistant.gateway.settings import GatewaySettings

Invoke = Callable[..., click.testing.Result]


class Served(NamedTuple):
    """A node that listens."""

    url: str
    service: FakeService


@contextmanager
def serving(service: FakeService, settings: GatewaySettings) -> Iterator[str]:
    """The real gateway before `service`, on a free port."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = build_app(service, settings)
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="critical", ws="none", lifespan="off", http="httptools")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join()
        listener.close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home: no settings, no history, no keys."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for name in ("AI_ASSISTANT_CONFIG", "AI_ASSISTANT_API_KEY", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def invoke() -> Invoke:
    """Runs `ai-assistant ARGUMENTS` in this process."""
    runner = click.testing.CliRunner()

    def run(*arguments: str, stdin: str | bytes = "") -> click.testing.Result:
        return runner.invoke(command, list(arguments), input=stdin, prog_name="ai-assistant")

    return run


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Starts nodes that are stopped after the test."""
    with ExitStack() as stack:

        def start(service: FakeService | None = None, **settings: object) -> Served:
            service = service or FakeService()
            fitted = GatewaySettings(**settings)  # pyright: ignore[reportArgumentType]
            return Served(stack.enter_context(serving(service, fitted)), service)

        yield start


@pytest.fixture
def free_port() -> int:
    """A port where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture
def fake_node(monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    """In the place of the node's modules that commands use."""
    fake = FakeNode()
    for name in ("running", "temporary", "models_here"):
        monkeypatch.setitem(sys.modules, f"ai_assistant.node.{name}", fake)
    return fake
