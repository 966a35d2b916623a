"""What nodes say to each other of KV blocks: bytes that are called bytes, if both want."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.fakes.h2_server import H2Server
from tests.fakes.scripted_server import ScriptedServer, Seen, whole
from tests.workers.remote_tools import KEY, worker_at

from ai_assistant.protocol.blocks import BlockHead, Head, Part, Taken, read_part
from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.protocol.requests import GenerateRequest, TextPrompt
from ai_assistant.workers.leaving import Leaving

BINARY = "application/octet-stream"
BLOCK = Part(
    Head(block=BlockHead(index=0, codec=0, word=1, raw=5, checksum=zlib.crc32(b"state"))), b"state"
)


async def bring(url: str, **settings: Any) -> None:
    """A block, to the node there."""
    async with worker_at(url + "/v1", kind="ai-assistant", **settings) as worker:
        await worker.blocks("m", "r-kv", "").take(BLOCK)


def test_a_block_is_sent_as_bytes() -> None:
    def script(_: Seen) -> list[Any]:
        return list(whole(msgspec.json.encode(Taken())))

    async def run() -> None:
        async with ScriptedServer(script).running() as server:
            await bring(server.url)
            (seen,) = server.seen
            assert (seen.path, seen.headers["content-type"]) == ("/admin/kv-blocks", BINARY)
            assert seen.headers["authorization"] == f"Bearer {KEY}"
            assert read_part(seen.raw).payload == b"state"

    asyncio.run(run())


def test_a_block_is_sent_as_bytes_over_http2(tmp_path: Path) -> None:
    async def run() -> None:
        server = H2Server(tmp_path, [msgspec.json.encode(Taken())])
        async with server.running():
            await bring(server.url, ca_file=str(server.certificate))
            (head,) = server.heads
            assert (head[":path"], head["content-type"]) == ("/admin/kv-blocks", BINARY)

    asyncio.run(run())


@pytest.mark.parametrize("with_blocks", [True, False])
def test_an_offered_answer_comes_with_a_ticket_if_blocks_go_along(with_blocks: bool) -> None:
    told: list[TokenChunk] = []

    async def run() -> None:
        leaving = Leaving(lambda _, chunk: told.append(chunk), with_blocks=with_blocks)
        request = GenerateRequest(request_id="r", model="m", prompt=TextPrompt("Hi"), tenant="me")
        pieces = leaving.watched(request, _said())
        await anext(pieces)
        (future,) = leaving.offer()
        assert leaving.awaited is with_blocks
        assert leaving.redeem(told[0].ticket, "me") == ("r" if with_blocks else None)
        await pieces.aclose()
        assert await future

    asyncio.run(run())
    assert [chunk.leaving for chunk in told] == [""]
    assert bool(told[0].ticket) is with_blocks


async def _said() -> AsyncIterator[TokenChunk]:
    for text in "abc":
        yield TokenChunk(text=text)
