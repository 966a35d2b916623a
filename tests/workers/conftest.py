"""A real node as a server that workers call."""

from collections.abc import Iterator

import pytest
from tests.system.running_node import RunningNode


@pytest.fixture(scope="session")
def upstream_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """On the starter model, shared by the tests that do it no harm."""
    # Without guesses ahead a piece is a token, and faults strike where they say.
    folder = tmp_path_factory.mktemp("upstream")
    running = RunningNode(folder, AI_ASSISTANT_ENGINE_SPECULATION="false")
    running.wait_ready()
    yield running
    running.stop()
