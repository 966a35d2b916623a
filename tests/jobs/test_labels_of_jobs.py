"""What is said of a job sticks to it: to files, batches, lines and what may wait."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from tests.fakes.fake_service import FakeService
from tests.jobs.bench_house import CHAT, many
from tests.jobs.test_jobs_of_a_node import HELLO, away, ended, served

from ai_assistant.gateway.keys import Caller
from ai_assistant.gateway.sender import origin_of_line, read_owner, write_owner
from ai_assistant.jobs import durable
from ai_assistant.jobs.network import HostNetwork
from ai_assistant.jobs.ports import Call
from ai_assistant.protocol.requests import Bounds, Origin

LINES = "\n".join(line.replace('"m"', '"starter"') for line in many(2)).encode()


@pytest.fixture(autouse=True)
def quick_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "_LOOK_SECONDS", 0.05)


async def upload(client: httpx.AsyncClient, **headers: str) -> str:
    sent = await client.post(
        "/v1/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", LINES)}, headers=headers
    )
    assert sent.status_code == 200, sent.text
    return sent.json()["id"]


async def order(client: httpx.AsyncClient, file: str, **fields: Any) -> Any:
    body = {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h", **fields}
    return await client.post("/v1/batches", json=body, headers={"X-Conversation-Id": "c9"})


def test_labels_of_a_file_and_of_its_batch_are_on_every_line(tmp_path: Path) -> None:
    service = FakeService()

    async def run() -> None:
        async with served(tmp_path, service) as (client, jobs):
            file = await upload(client, **{"X-Labels": "hr"})
            made = await order(client, file, labels=["board"], metadata={"regions": "eu"})
            batch = await ended(client, made.json()["id"])
            output = await jobs.file("alice", batch["output_file_id"])
            assert output.labelled == ("hr", "board")

    asyncio.run(run())
    origins = [request.origin for request in service.asked]
    assert len(origins) == 2
    for origin in origins:
        assert sorted(origin.bounds.labels) == ["board", "hr"]
        assert origin.bounds.regions == ("eu",)
        assert origin.conversation == "c9"
        assert origin.endpoint == CHAT
        assert origin.job.startswith("batch_")
        assert not origin.spill


def test_what_may_wait_keeps_what_was_said_of_it(tmp_path: Path) -> None:
    service = away(1)

    async def run() -> None:
        async with served(tmp_path, service) as (client, _):
            headers = {"X-May-Wait": "2h", "X-Labels": "board", "User-Agent": "Word"}
            stored = await client.post(CHAT, json=HELLO, headers=headers)
            assert stored.status_code == 202
            await ended(client, stored.json()["id"])

    asyncio.run(run())
    first, then = (request.origin for request in service.asked)
    assert first.bounds == then.bounds == Bounds(labels=("board",))
    assert (first.client, then.client) == ("Word", "Word")
    assert (first.job, then.job) == ("", then.job)
    assert then.job


def test_spilling_is_asked_for_in_so_many_words(tmp_path: Path) -> None:
    async def run() -> None:
        async with served(tmp_path, FakeService()) as (client, jobs):
            for said, expected in (("true", True), ("no", False)):
                made = await order(client, await upload(client), metadata={"spill": said})
                assert (await jobs.batch("alice", made.json()["id"])).spill == expected
            wrong = await order(client, await upload(client), metadata={"spill": "perhaps"})
            assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "metadata.spill")

    asyncio.run(run())


@pytest.mark.parametrize(("said", "spills"), [("false", False), ("true", True), ("", True)])
def test_whoever_orders_a_batch_may_keep_it_here_whatever_the_settings_say(
    tmp_path: Path, said: str, spills: bool
) -> None:
    async def run() -> None:
        async with served(tmp_path, FakeService(), spill=True) as (client, jobs):
            metadata = {"spill": said} if said else None
            made = await order(client, await upload(client), metadata=metadata)
            assert (await jobs.batch("alice", made.json()["id"])).spill == spills

    asyncio.run(run())


def test_the_status_and_the_figures_tell_of_jobs(tmp_path: Path) -> None:
    async def run() -> None:
        async with served(tmp_path, FakeService()) as (client, _):
            jobs = (await client.get("/status")).json()["jobs"]
            assert (jobs["working"], jobs["waiting"]) == (0, {})
            figures = (await client.get("/metrics")).text
            assert 'ai_assistant_batches{reason="network",state="waiting"} 0.0' in figures
            assert "ai_assistant_online " in figures

    asyncio.run(run())


def test_batches_of_before_are_read() -> None:
    """Owners were written without an origin once."""
    old = msgspec.json.encode(Caller(tenant="ann")).decode()
    assert read_owner(old).origin == Origin()
    call = Call(endpoint=CHAT, body=b"{}", owner=old, request_id="r", labels=("hr",), spill=True)
    assert origin_of_line(call) == Origin(bounds=Bounds(labels=("hr",)), spill=True)
    assert json.loads(write_owner(read_owner(old)))["tenant"] == "ann"


def test_what_traffic_meets_with_is_known_of_all_servers_of_a_host() -> None:
    async def run() -> None:
        network = HostNetwork()
        here = "http://127.0.0.1:1"
        network.know([here, "http://127.0.0.1:2"])
        network.hear("127.0.0.1", True)
        assert await network.online(here)
        network.hear("127.0.0.1", False)
        assert not await network.online("http://127.0.0.1:2")
        network.hear("elsewhere", True)

    asyncio.run(run())
