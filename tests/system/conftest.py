"""Nodes for the system tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest
from benchmarks.tiny import KINDS, make
from tests.system.running_node import RunningNode

StartNode = Callable[..., RunningNode]


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """One node on the starter model, shared by the tests that do it no harm."""
    running = RunningNode(tmp_path_factory.mktemp("node"))
    running.wait_ready()
    yield running
    running.stop()


@pytest.fixture
def client(node: RunningNode) -> openai.OpenAI:
    return node.openai


@pytest.fixture
def start_node(tmp_path: Path) -> Iterator[StartNode]:
    """Nodes of the test's own, to be harmed."""
    started: list[RunningNode] = []

    def start(*flags: str, **environment: str) -> RunningNode:
        folder = tmp_path / f"node{len(started)}"
        folder.mkdir()
        started.append(RunningNode(folder, *flags, **environment))
        return started[-1]

    yield start
    for running in started:
        running.stop()


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tiny")
    return {kind: make(kind, folder / f"{kind}.gguf") for kind in KINDS}
