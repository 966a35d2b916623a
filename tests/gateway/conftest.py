import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = str(Path(__file__).resolve().parents[1])
if TESTS not in sys.path:
    sys.path.insert(0, TESTS)

from fakes.running_gateway import RunningGateway, RunningGateways  # noqa: E402


@pytest.fixture(scope="session")
def gateways() -> Iterator[RunningGateways]:
    """Real servers on loopback ports, one for each set of settings that a test asks for."""
    running = RunningGateways()
    yield running
    running.stop()


@pytest.fixture
def gateway(gateways: RunningGateways) -> RunningGateway:
    """A server with the default settings and a service as new."""
    return gateways.with_settings()
