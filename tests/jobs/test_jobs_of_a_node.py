"""The gateway with jobs in one process: the queue's life, and requests that may wait."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fakes.fake_service import FakeService, Step, say
from tests.jobs.bench_house import CHAT, many

from ai_assistant.gateway.app import build_app
from ai_assistant.gateway.desk import Desk
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.jobs import durable
from ai_assistant.jobs.jobs import Jobs
from ai_assistant.jobs.settings import JobsSettings
from ai_assistant.jobs.stages import Stages
from ai_assistant.jobs.states import Outcome
from ai_assistant.protocol.errors import ProviderUnreachable
from ai_assistant.protocol.requests import GenerateRequest, Priority

HELLO = {"model": "starter", "messages": [{"role": "user", "content": "hi"}]}
SETTINGS = GatewaySettings(api_keys=("secret name=alice weight=2",))


@pytest.fixture(autouse=True)
def quick_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "_LOOK_SECONDS", 0.05)


@asynccontextmanager
async def served(
    folder: Path, service: FakeService, **settings: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Jobs]]:
    """A client of the application, and its jobs."""
    desk = Desk(service, SETTINGS)
    jobs = Jobs(folder, JobsSettings(**settings), desk, idle_seconds=0.4)
    transport = httpx.ASGITransport(app=build_app(service, SETTINGS, jobs=jobs))
    async with httpx.AsyncClient(
        transport=transport,
        base_url="http://localhost",
        headers={"Authorization": "Bearer secret"},
    ) as client:
        try:
            yield client, jobs
        finally:
            await jobs.stop()


async def submit(client: httpx.AsyncClient, lines: Sequence[str]) -> str:
    content = "\n".join(lines).encode()
    sent = await client.post(
        "/v1/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", content)}
    )
    assert sent.status_code == 200, sent.text
    order = {"input_file_id": sent.json()["id"], "endpoint": CHAT, "completion_window": "24h"}
    made = await client.post("/v1/batches", json=order)
    assert made.status_code == 200, made.text
    return made.json()["id"]


async def ended(client: httpx.AsyncClient, name: str) -> Any:
    for _ in range(500):
        batch = (await client.get(f"/v1/batches/{name}")).json()
        if batch["ai_assistant"]["state"] == "ended":
            return batch
        await asyncio.sleep(0.02)
    raise AssertionError(batch)


def queue_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "queue" in thread.name]


@contextmanager
def addresses_asked() -> Generator[set[str]]:
    """Every address that this process looks up, connects to or sends to meanwhile."""
    asked: set[str] = set()
    watching = True

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
            address = arguments[0] if event == "socket.getaddrinfo" else arguments[1]
            asked.add(str(address[0] if isinstance(address, tuple) else address))

    sys.addaudithook(watch)
    yield asked
    watching = False


def test_lines_are_asked_as_batches_of_their_owner_and_nobody_else_is(tmp_path: Path) -> None:
    service = FakeService()
    lines = [line.replace('"m"', '"starter", "priority": "interactive"') for line in many(3)]

    async def ask() -> None:
        async with served(tmp_path, service) as (client, _):
            batch = await ended(client, await submit(client, lines))
            assert batch["request_counts"] == {"total": 3, "completed": 3, "failed": 0}
            assert batch["model"] == "starter"

    with addresses_asked() as asked:
        asyncio.run(ask())
    assert {request.priority for request in service.asked} == {Priority.BATCH}
    assert {(request.tenant, request.weight) for request in service.asked} == {("alice", 2.0)}
    # Their routes are looked up; no packet goes to addresses of documentation.
    assert asked <= {"192.0.2.1", "2001:db8::1"}


@pytest.mark.slow
def test_the_queue_sleeps_when_there_is_nothing_to_do_and_wakes_again(tmp_path: Path) -> None:
    async def twice() -> None:
        lines = [line.replace('"m"', '"starter"') for line in many(1)]
        async with served(tmp_path, FakeService()) as (client, _):
            await client.get("/v1/batches")
            assert queue_threads() == [], "looking starts no queue"
            for _ in range(2):
                await ended(client, await submit(client, lines))
                assert queue_threads()
                for _ in range(200):
                    if not queue_threads():
                        break
                    await asyncio.sleep(0.02)
                assert queue_threads() == []

    asyncio.run(twice())


def away(times: int) -> FakeService:
    """A model behind a network that is down for the first requests."""
    tries = 0

    def script(request: GenerateRequest) -> Sequence[Step]:
        nonlocal tries
        tries += 1
        if tries <= times:
            return [ProviderUnreachable("cloud.example cannot be reached.")]
        return say("Hel", "lo")

    return FakeService(script=script)


def test_a_request_that_may_wait_is_stored_and_sent_when_it_can_be(tmp_path: Path) -> None:
    async def outage() -> None:
        async with served(tmp_path, away(2)) as (client, _):
            stored = await client.post(CHAT, json=HELLO, headers={"X-May-Wait": "2h"})
            assert stored.status_code == 202
            assert stored.headers["location"] == f"/v1/batches/{stored.json()['id']}"
            batch = await ended(client, stored.json()["id"])
            assert batch["status"] == "completed"
            text = (await client.get(f"/v1/files/{batch['output_file_id']}/content")).json()
            assert text["response"]["body"]["choices"][0]["message"]["content"] == "Hello"

    asyncio.run(outage())


def test_what_may_not_wait_gets_its_error_and_what_need_not_its_answer(tmp_path: Path) -> None:
    async def ask() -> None:
        waits = {"X-May-Wait": "2h"}
        async with served(tmp_path, away(2)) as (client, _):
            assert (await client.post(CHAT, json=HELLO)).status_code == 502
            streamed = await client.post(CHAT, json={**HELLO, "stream": True}, headers=waits)
            assert streamed.status_code == 502
            wrong = await client.post(CHAT, json=HELLO, headers={"X-May-Wait": "soon"})
            assert wrong.status_code == 400
            answer = await client.post(CHAT, json=HELLO, headers=waits)
            assert answer.json()["choices"][0]["message"]["content"] == "Hello"
            assert (await client.get("/v1/batches")).json()["data"] == []

    asyncio.run(ask())


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    async def upload() -> None:
        async with served(tmp_path, FakeService(), max_file_mb=1, disk_gb=0.002) as (client, _):

            async def send(size: int) -> httpx.Response:
                files = {"file": ("f", b"x" * size)}
                return await client.post("/v1/files", data={"purpose": "user_data"}, files=files)

            big = await send(1_100_000)
            assert (big.status_code, big.json()["error"]["code"]) == (413, "request_too_large")
            assert (await send(900_000)).status_code == 200
            assert (await send(900_000)).status_code == 200
            full = await send(900_000)
            assert (full.status_code, full.json()["error"]["code"]) == (400, "storage_full")
            found = (await client.get("/v1/files")).json()["data"]
            assert len(found) == 2
            assert len(list((tmp_path / "files").iterdir())) == 2

    asyncio.run(upload())


def test_a_run_that_died_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, runs = Stages.work, 0

    async def dies_once(stages: Stages, name: str) -> Outcome:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise asyncio.CancelledError  # as when the queue's own database fails
        return await whole(stages, name)

    monkeypatch.setattr(Stages, "work", dies_once)

    async def revive() -> None:
        async with served(tmp_path, FakeService()) as (client, _):
            lines = [line.replace('"m"', '"starter"') for line in many(2)]
            batch = await ended(client, await submit(client, lines))
            assert batch["request_counts"] == {"total": 2, "completed": 2, "failed": 0}

    asyncio.run(revive())
    assert runs == 2


@pytest.mark.slow
def test_a_mistake_of_ours_ends_the_batch_with_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(stages: Stages, name: str) -> Outcome:
        raise ZeroDivisionError(name)

    monkeypatch.setattr(Stages, "work", fails)

    async def mistake() -> None:
        async with served(tmp_path, FakeService()) as (client, _):
            batch = await ended(client, await submit(client, many(2)))
            assert batch["status"] == "failed"
            assert batch["error_file_id"]

    asyncio.run(mistake())
    assert "cannot be worked on" in caplog.text


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/v1/files?limit=0", "limit"),
        ("/v1/files?limit=²", "limit"),
        ("/v1/batches?limit=101", "limit"),
        ("/v1/files?order=up", "order"),
        ("/v1/files?after=file-none", "after"),
        ("/v1/batches?after=batch_none", "after"),
        ("/v1/files/..%2fjobs.db/content", "file_id"),
        ("/v1/batches/none", "batch_id"),
    ],
)
def test_what_is_wrong_with_an_address_is_named(tmp_path: Path, path: str, param: str) -> None:
    async def ask() -> None:
        async with served(tmp_path, FakeService()) as (client, _):
            answer = await client.get(path)
            assert answer.status_code in (400, 404)
            assert answer.json()["error"]["param"] in (param, None)

    asyncio.run(ask())


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"purpose": "world domination"},
        {"purpose": "batch", "expires_after[anchor]": "now", "expires_after[seconds]": "3600"},
        {"purpose": "batch", "expires_after[anchor]": "created_at"},
        {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "9"},
    ],
)
def test_an_upload_with_wrong_fields_leaves_nothing(tmp_path: Path, fields: dict[str, str]) -> None:
    async def upload() -> None:
        async with served(tmp_path, FakeService()) as (client, _):
            answer = await client.post("/v1/files", data=fields, files={"file": ("f", b"x")})
            assert answer.status_code == 400, answer.text
            assert answer.json()["error"]["param"]
            assert (await client.get("/v1/files")).json()["data"] == []
            assert list((tmp_path / "files").iterdir()) == []

    asyncio.run(upload())
