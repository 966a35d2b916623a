"""The states of a batch, its pace, and the network."""

import asyncio
import contextlib
import shutil
import socket
import subprocess
import sys
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_assistant.jobs import network as network_module
from ai_assistant.jobs.network import HostNetwork
from ai_assistant.jobs.pace import Pace
from ai_assistant.jobs.states import FINAL, Batch, Status, become, may_become

STATUSES: tuple[Status, ...] = get_args(Status)
NEW = Batch(
    id="b", tenant="", owner="", endpoint="/v1/embeddings", input_file="f",
    completion_window="24h", created_at=0, expires_at=10,
)  # fmt: skip


@given(st.lists(st.sampled_from(STATUSES), max_size=12))
def test_whatever_is_tried_a_batch_ends_once(tries: list[Status]) -> None:
    batch = NEW
    for at, status in enumerate(tries):
        if batch.final or not may_become(batch, status):
            with pytest.raises(ValueError, match="cannot become"):
                become(batch, status, at)
        else:
            batch = become(batch, status, at)
            assert batch.times[status] == at
    assert sum(status in FINAL for status in batch.times) <= 1
    assert batch.final == any(status in FINAL for status in batch.times)


@pytest.mark.parametrize(
    ("done", "now", "late"),
    [(0, 50, False), (0, 95, True), (50, 25, False), (50, 60, True), (99, 80, False)],
)
def test_the_pace_tells_whether_it_will_be_in_time(done: int, now: float, late: bool) -> None:
    pace = Pace()
    pace.begin(0, 100)
    for n in range(done):
        pace.note(now * (n + 1) / done)
    assert pace.is_late(now, 100) is late


def test_a_server_is_tried_once_in_a_while_and_nobody_else_is() -> None:
    async def look() -> None:
        connections = 0

        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()

        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        network = HostNetwork()
        address = f"http://127.0.0.1:{port}/v1"
        assert await network.online(address)
        assert await network.online(address)
        server.close()
        await server.wait_closed()
        assert connections == 1
        assert await network.online(address), "it has just been there"
        network.note(address, False)
        assert not await network.online(address)
        assert not await HostNetwork().online(address)

    asyncio.run(look())


def test_without_a_route_it_is_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoWay(socket.socket):
        def connect(self, address: object) -> None:
            raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(network_module.socket, "socket", NoWay)
    assert not network_module.has_route()
    assert not asyncio.run(HostNetwork().online("https://cloud.example"))


@pytest.mark.skipif(shutil.which("unshare") is None, reason="Linux only")
def test_a_machine_without_a_network_knows_it() -> None:
    code = "from ai_assistant.jobs.network import has_route; print(has_route())"
    done = subprocess.run(
        ["unshare", "--net", "--map-root-user", sys.executable, "-c", code],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "unshare" in done.stderr:
        pytest.skip("this system allows no namespaces")
    assert done.stdout == "False\n", done.stderr
