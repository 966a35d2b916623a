"""GET and PUT /admin/power over HTTP, and what /metrics tells."""

import asyncio

import httpx
import msgspec
import pytest
from prometheus_client import generate_latest
from prometheus_client.registry import CollectorRegistry
from tests.fakes.fake_service import FakeService
from tests.fakes.scripted_service import starter

from ai_assistant.devices.power.modes import read_mode
from ai_assistant.gateway.app import build_app
from ai_assistant.gateway.metrics_of_engines import EngineCollector
from ai_assistant.gateway.power import power_routes
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.protocol.power import PowerStatus, Restraint
from ai_assistant.protocol.status import NodeStatus

KEYS = ("owner-0123456789", "student-0123456789 class=batch", "guest-0123456789 name=guest")


class Kept:
    """In the place of the node's keeper."""

    def __init__(self) -> None:
        self.told = PowerStatus(mode="max", watts=31.5, joules_per_token=0.25, joules=900.0)

    async def look(self) -> PowerStatus:
        return self.told

    async def change(self, mode: str) -> None:
        wanted = str(read_mode(mode))
        self.told = msgspec.structs.replace(self.told, mode=wanted, restraint=Restraint(threads=2))


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def client(kept: Kept) -> "Caller":
    settings = GatewaySettings(api_keys=KEYS)
    routes = power_routes(kept.look, kept.change, settings)
    return Caller(httpx.ASGITransport(build_app(FakeService(), settings, mounts=routes)))


class Caller:
    """Asks the application without a network."""

    def __init__(self, transport: httpx.ASGITransport) -> None:
        self._transport = transport

    def ask(self, method: str, key: str = KEYS[0], body: object = None) -> httpx.Response:
        async def once() -> httpx.Response:
            headers = {"authorization": f"Bearer {key}"}
            url = "http://127.0.0.1/admin/power"
            async with httpx.AsyncClient(transport=self._transport) as client:
                return await client.request(method, url, headers=headers, json=body)

        return asyncio.run(once())


def test_what_the_sensors_say(client: Caller) -> None:
    answer = client.ask("GET").json()
    assert (answer["mode"], answer["watts"], answer["temperature"]) == ("max", 31.5, None)


def test_another_mode(client: Caller, kept: Kept) -> None:
    answer = client.ask("PUT", body={"mode": "45w"})
    assert answer.status_code == 200
    assert answer.json()["mode"] == kept.told.mode == "45 W"
    assert answer.json()["restraint"]["threads"] == 2


@pytest.mark.parametrize(
    "body", [{"mode": "fast"}, {}, {"mode": 3}, {"mode": "max", "more": 1}, []]
)
def test_what_is_no_mode_is_refused(client: Caller, kept: Kept, body: object) -> None:
    answer = client.ask("PUT", body=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
    assert kept.told.mode == "max"


def test_keys_with_limits_may_look_and_not_change(client: Caller, kept: Kept) -> None:
    limited = KEYS[1].split()[0]
    assert client.ask("GET", limited).status_code == 200
    assert client.ask("PUT", limited, {"mode": "quiet"}).status_code == 403
    assert client.ask("GET", "nobody").status_code == 401
    assert kept.told.mode == "max"


def metrics(power: PowerStatus | None) -> str:
    class Service(FakeService):
        def status(self) -> NodeStatus:
            return msgspec.structs.replace(super().status(), power=power)

    registry = CollectorRegistry()
    registry.register(EngineCollector(Service(models=(starter(),))))
    return generate_latest(registry).decode()


def test_metrics_tell_what_is_measured() -> None:
    text = metrics(PowerStatus(watts=31.5, joules=900.0, joules_per_token=0.25, slowed_by="heat"))
    assert "ai_assistant_power_watts 31.5" in text
    assert "ai_assistant_joules_total 900.0" in text
    assert "ai_assistant_joules_per_token 0.25" in text
    assert "ai_assistant_power_slowed 1.0" in text
    assert "temperature" not in text


def test_metrics_without_sensors_tell_no_energy() -> None:
    for power in (None, PowerStatus(mode="quiet")):
        text = metrics(power)
        assert "power_watts" not in text
        assert "joules" not in text
