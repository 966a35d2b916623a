"""HTTP/2: many answers over one connection, each ended alone."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.h2_server import H2Server
from tests.fakes.scripted_server import delta, usage
from tests.workers.remote_tools import KEY, chat, collect, text_of, worker_at

from ai_assistant.protocol.errors import MalformedAnswer, ProviderUnreachable, StreamBroken
from ai_assistant.workers.remote.deadlines import Deadlines
from ai_assistant.workers.remote.worker import RemoteWorker

CALM = Deadlines(connect=5, first_token=10, between_tokens=5)


def event(body: Any) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


STORY = [event(delta(content="Hel")), event(delta(content="lo")), event(delta("stop")),
         event(usage(1, 2)), b"data: [DONE]\n\n"]  # fmt: skip


@asynccontextmanager
async def worker_of(server: H2Server, **settings: Any) -> AsyncIterator[RemoteWorker]:
    settings = {"ca_file": str(server.certificate), "deadlines": CALM, **settings}
    async with worker_at(server.url + "/v1", **settings) as worker:
        yield worker


def test_many_answers_share_a_connection(tmp_path: Path) -> None:
    async def run() -> None:
        server = H2Server(tmp_path, STORY, pause=0.005)
        async with server.running(), worker_of(server) as worker:
            answers = await asyncio.gather(*(collect(worker, chat()) for _ in range(40)))
            assert {text_of(chunks) for chunks in answers} == {"Hello"}
            assert server.connections == 1
            assert server.resets == []
            head = server.heads[0]
            assert head["authorization"] == f"Bearer {KEY}"
            assert head[":path"] == "/v1/chat/completions"

    asyncio.run(run())


def test_a_full_connection_gets_a_neighbour(tmp_path: Path) -> None:
    async def run() -> None:
        server = H2Server(tmp_path, STORY, pause=0.02)
        server.most = 5
        async with server.running(), worker_of(server) as worker:
            await collect(worker, chat())
            await asyncio.gather(*(collect(worker, chat()) for _ in range(10)))
            assert 2 <= server.connections <= 3

    asyncio.run(run())


def test_closing_the_iterator_resets_its_stream_and_no_other(tmp_path: Path) -> None:
    async def run() -> None:
        server = H2Server(tmp_path, STORY, pause=0.2)
        async with server.running(), worker_of(server) as worker:
            other = asyncio.create_task(collect(worker, chat()))
            pieces = worker.generate(chat())
            await anext(pieces)
            began = time.monotonic()
            await pieces.aclose()
            await asyncio.wait_for(server.reset.wait(), 5)
            assert time.monotonic() - began < 0.1
            assert text_of(await other) == "Hello"
            assert len(server.resets) == 1
            assert text_of(await collect(worker, chat())) == "Hello"
            assert server.connections == 1

    asyncio.run(run())


def test_a_long_prompt_waits_for_the_servers_window(tmp_path: Path) -> None:
    async def run() -> None:
        server = H2Server(tmp_path, STORY)
        server.window = 1000
        async with server.running(), worker_of(server) as worker:
            request = chat("x" * 300_000)
            assert text_of(await collect(worker, request)) == "Hello"
            assert len(server.bodies[0]) > 300_000
            assert server.heads[0]["content-length"] == str(len(server.bodies[0]))

    asyncio.run(run())


def test_a_long_answer_passes_our_window(tmp_path: Path) -> None:
    async def run() -> None:
        pieces = [event(delta(content="y" * 10_000)) for _ in range(200)]
        server = H2Server(tmp_path, [*pieces, *STORY[2:]])
        async with server.running(), worker_of(server) as worker:
            answers = await asyncio.gather(*(collect(worker, chat()) for _ in range(4)))
            assert [len(text_of(chunks)) for chunks in answers] == [2_000_000] * 4

    asyncio.run(run())


def test_a_server_that_leaves_costs_no_request(tmp_path: Path) -> None:
    async def run() -> None:
        server = H2Server(tmp_path, STORY)
        server.mode = "leave first"
        async with server.running(), worker_of(server) as worker:
            assert text_of(await collect(worker, chat())) == "Hello"
            assert server.connections == 2
            assert worker.facts().errors == 0

    asyncio.run(run())


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("reset", StreamBroken), ("cut", StreamBroken), ("nonsense", MalformedAnswer)],
)
def test_what_breaks_says_how_far_it_got(
    tmp_path: Path, mode: str, expected: type[Exception]
) -> None:
    async def run() -> None:
        server = H2Server(tmp_path, STORY, pause=0.01)
        server.mode = mode
        async with server.running(), worker_of(server) as worker:
            with pytest.raises(expected) as caught:
                await collect(worker, chat())
            assert getattr(caught.value, "reached").characters == 3  # noqa: B009
            server.mode = "good"
            assert text_of(await collect(worker, chat())) == "Hello"

    asyncio.run(run())


def test_a_server_without_http2_is_spoken_to_in_http1(tmp_path: Path) -> None:
    async def run() -> None:
        server = H2Server(tmp_path, STORY)
        server.alpn = ["http/1.1"]
        async with server.running(), worker_of(server) as worker:
            with pytest.raises(Exception):  # noqa: B017, PT011 - this server speaks nothing else
                await collect(worker, chat())
            assert server.connections == 2  # one to find out, one to ask

    asyncio.run(run())


def test_a_certificate_that_is_not_trusted_is_told(tmp_path: Path) -> None:
    async def run() -> None:
        server = H2Server(tmp_path, STORY)
        async with server.running():
            for http2 in (None, False):
                async with worker_of(server, ca_file="", http2=http2) as worker:
                    with pytest.raises(ProviderUnreachable, match="ca_file"):
                        await collect(worker, chat())

    asyncio.run(run())
