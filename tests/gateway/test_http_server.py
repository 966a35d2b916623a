import asyncio
import json
import socket
import time

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from tests.fakes.fake_service import FakeService
from tests.fakes.running_gateway import HELLO, RunningGateways, eventually, request_bytes
from tests.fakes.scripts import USAGE

from ai_assistant.gateway.app import build_app
from ai_assistant.gateway.server import AddressInUse, serve
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.protocol.errors import InvalidRequest

STREAM = request_bytes(json.dumps({**HELLO, "stream": True}).encode())


def test_stopping_lets_a_running_answer_end(gateways: RunningGateways) -> None:
    with gateways.alone() as (gateway, stop), gateway.connect() as connection:
        gateway.service.script = [
            TokenChunk(text="a"),
            0.4,
            TokenChunk(text="b", finish="stop", usage=USAGE),
        ]
        connection.sendall(STREAM)
        received = connection.recv(65536)
        stop()
        while part := connection.recv(65536):
            received += part
        assert b"[DONE]" in received
        eventually(lambda: gateway.ended)
        with pytest.raises(ConnectionRefusedError), gateway.connect():
            pass


def test_what_outlasts_the_drain_is_told_and_cancelled(gateways: RunningGateways) -> None:
    with gateways.alone(drain_seconds=0.2) as (gateway, stop), gateway.connect() as connection:
        gateway.service.script = [TokenChunk(text="a"), 60.0]
        connection.sendall(STREAM)
        received = connection.recv(65536)
        stop()
        while part := connection.recv(65536):
            received += part
        assert b'"code":"shutting_down"' in received
        assert b"[DONE]" not in received
        eventually(lambda: gateway.ended)
        assert gateway.service.closed


def test_what_has_no_answer_yet_gets_a_status(gateways: RunningGateways) -> None:
    with gateways.alone(drain_seconds=0.2) as (gateway, stop), gateway.connect() as connection:
        gateway.service.script = [60.0]
        connection.sendall(STREAM)
        eventually(lambda: gateway.service.asked)
        stop()
        assert connection.recv(65536).startswith(b"HTTP/1.1 503")
        eventually(lambda: gateway.ended)


def test_a_reader_that_stops_does_not_keep_the_server(gateways: RunningGateways) -> None:
    with gateways.alone(drain_seconds=0.2) as (gateway, stop), gateway.connect(4096) as connection:
        gateway.service.script = [TokenChunk(text="x" * 4096)] * 20_000
        connection.sendall(STREAM)
        eventually(lambda: gateway.service.sent > 300)
        started = time.monotonic()
        stop()
        eventually(lambda: gateway.ended)
        assert time.monotonic() - started < 4


def test_an_idle_connection_does_not_keep_the_server(gateways: RunningGateways) -> None:
    with gateways.alone() as (gateway, stop), gateway.connect():
        started = time.monotonic()
        stop()
        eventually(lambda: gateway.ended)
        assert time.monotonic() - started < 1


def test_cancelling_the_server_ends_everything_at_once() -> None:
    async def cancel_while_streaming() -> tuple[bytes, list[str]]:
        service = FakeService([TokenChunk(text="a"), 60.0])
        settings = GatewaySettings(port=0)
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        app = build_app(service, settings)
        serving = asyncio.create_task(
            serve(app, settings, on_ready=ready.set_result, stop=asyncio.Event())
        )
        port = int((await ready).rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(STREAM)
        received = await reader.readuntil(b"\n\n")
        serving.cancel()
        await asyncio.wait([serving])
        received += await reader.read()
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        return received, service.closed

    received, closed = asyncio.run(cancel_while_streaming())
    assert b'"code":"shutting_down"' in received
    assert closed


def test_a_taken_port_is_told_in_plain_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings = GatewaySettings(port=other.getsockname()[1])
        with pytest.raises(AddressInUse, match="in use"):
            asyncio.run(_serve_until_ready(settings))


def test_an_address_of_another_machine_is_told_in_plain_words() -> None:
    with pytest.raises(InvalidRequest, match=r"Cannot listen on 192\.0\.2\.1"):
        asyncio.run(_serve_until_ready(GatewaySettings(host="192.0.2.1", port=0, api_keys=("k",))))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_the_address_is_told_when_ready(host: str) -> None:
    if host == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    address = asyncio.run(_serve_until_ready(GatewaySettings(host=host, port=0)))
    assert address.startswith("http://[::1]:" if host == "::1" else f"http://{host}:")


def test_the_consoles_routes_come_last_and_under_the_guards() -> None:
    async def page(_: object) -> PlainTextResponse:
        return PlainTextResponse("page")

    mounts = [Mount("/console", routes=[Route("/", page)]), Route("/livez", page)]
    app = build_app(FakeService(), GatewaySettings(), mounts=mounts)

    async def ask(path: str, host: str = "localhost") -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            return await client.get(path)

    assert asyncio.run(ask("/console/")).text == "page"
    assert asyncio.run(ask("/console")).headers["location"] == "http://localhost/console/"
    assert asyncio.run(ask("/console/none")).json()["error"]["code"] == "not_found"
    assert asyncio.run(ask("/livez")).json() == {"status": "ok"}
    assert asyncio.run(ask("/console/", "evil.example")).status_code == 403


async def _serve_until_ready(settings: GatewaySettings) -> str:
    stop = asyncio.Event()
    addresses: list[str] = []

    def ready(address: str) -> None:
        addresses.append(address)
        stop.set()

    await serve(build_app(FakeService(), settings), settings, on_ready=ready, stop=stop)
    return addresses[0]
