"""The same code on Postgres: a real server, for the length of the test."""

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.fake_service import FakeService, say
from tests.jobs.bench_house import many
from tests.jobs.test_jobs_of_a_node import ended, served, submit

from ai_assistant.jobs.books import Books
from ai_assistant.jobs.database import Database
from ai_assistant.jobs.entries import Page, StoredFile

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("initdb") is None, reason="there is no Postgres here"),
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty database."""
    folder = tmp_path_factory.mktemp("postgres")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    options: dict[str, int] = {}
    if os.getuid() == 0:  # It refuses to run as root.
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        for parent in folder.parents[:3]:
            parent.chmod(parent.stat().st_mode | 0o011)
        options = {"user": nobody.pw_uid, "group": nobody.pw_gid}
    data = folder / "data"
    subprocess.run(
        ["initdb", "-D", str(data), "-U", "jobs", "-A", "trust"],
        check=True, capture_output=True, **options,
    )  # fmt: skip
    server = subprocess.Popen(
        ["postgres", "-D", str(data), "-p", str(port), "-k", str(folder), "-h", "127.0.0.1"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options,
    )  # fmt: skip
    try:
        _await(port)
        yield f"postgresql://jobs@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(20)


def _await(port: int) -> None:
    for _ in range(200):
        ready = subprocess.run(["pg_isready", "-p", str(port), "-h", "127.0.0.1", "-q"])
        if ready.returncode == 0:
            return
        time.sleep(0.1)
    raise AssertionError("Postgres did not start")


def test_lists_are_the_same_there(url: str, tmp_path: Path) -> None:
    database = Database(tmp_path, url)
    books = Books(database)
    for i in range(5):
        file = StoredFile(
            id=f"file-{i}", tenant="t", purpose="p", filename="f", bytes=1, created_at=0
        )
        books.add_file(file)
        books.add_file(file)
    page = books.files("t", Page(limit=2, after="file-3"), None)
    assert [file.id for file in page] == ["file-2", "file-1", "file-0"]
    assert books.known_files() == {f"file-{i}": 1 for i in range(5)}
    database.close()
    Database(tmp_path, url).close()


def test_a_batch_goes_on_where_a_former_node_left_it(url: str, tmp_path: Path) -> None:
    lines = [line.replace('"m"', '"starter"') for line in many(40)]

    async def first() -> str:
        service = FakeService()
        service.script = lambda _request: [0.2, *say("Hel", "lo")]
        async with served(tmp_path, service, database=url) as (client, _):
            name = await submit(client, lines)
            done = 0
            while done < 3:
                await asyncio.sleep(0.02)
                done = (await client.get(f"/v1/batches/{name}")).json()["request_counts"][
                    "completed"
                ]
            assert done < 40
            return name

    async def second(name: str) -> None:
        async with served(tmp_path, FakeService(), database=url) as (client, jobs):
            await jobs.resume()
            batch = await ended(client, name)
            assert batch["request_counts"] == {"total": 40, "completed": 40, "failed": 0}
            content = await client.get(f"/v1/files/{batch['output_file_id']}/content")
            assert len(content.text.splitlines()) == 40

    asyncio.run(second(asyncio.run(first())))
