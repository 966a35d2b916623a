from collections.abc import Iterator

import pytest
from tests.fakes.running_gateway import RunningGateway, RunningGateways


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
