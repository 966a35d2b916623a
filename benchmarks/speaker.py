"""A server that speaks OpenAI's API and says a text that is known before.

The text follows from the question. An answer whose beginning is the last message is continued at
its very character, as vLLM and llama-server do. `python -m benchmarks.speaker PORT` runs it as a
process that can be killed.
"""

import asyncio
import json
import random
import sys
from collections.abc import Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

WORDS = (
    *("river", "stone", "light", "Größe", "naïve", "été", "lantern", "harbour", "42", "a", "the"),
    *("你好", "世界", "長い", "🙂", "👩‍🚀", "e\u0301", "\n", "\n\n", "`x = 1`", "—", '"so"', "\\n"),
)
TOKENS = 40
PAUSE = 0.004
"""Seconds between two tokens."""


def text_for(question: str) -> str:
    """What is answered to it."""
    chance = random.Random(question)
    return " ".join(chance.choices(WORDS, k=TOKENS))


def pieces(text: str, seed: str) -> Iterator[str]:
    """The text in pieces of a few characters, cut anywhere."""
    chance = random.Random(seed)
    at = 0
    while at < len(text):
        size = chance.randint(1, 8)
        yield text[at : at + size]
        at += size


class Speaker:
    """One request a connection."""

    def __init__(self) -> None:
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self, port: int = 0):
        """Serve on a port of this machine."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", port, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._answer(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n")
             if line.startswith(b"content-length:")), 0,
        )  # fmt: skip
        if not length:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            await writer.drain()
            return
        body: dict[str, Any] = json.loads(await reader.readexactly(length))
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        )
        for event in said(body["messages"]):
            writer.write(b"%x\r\n%s\r\n" % (len(event), event))
            await writer.drain()
            await asyncio.sleep(PAUSE)
        writer.write(b"0\r\n\r\n")
        await writer.drain()


def said(messages: list[dict[str, Any]]) -> Iterator[bytes]:
    """The events of the answer, or of the rest of it."""
    question = next(m["content"] for m in messages if m["role"] == "user")
    begun = messages[-1]["content"] if messages[-1]["role"] == "assistant" else ""
    whole = text_for(question)
    if not whole.startswith(begun):
        yield _event({"error": {"message": "this is not how I began", "type": "server_error"}})
        return

    said_now = list(pieces(whole[len(begun) :], question + begun))
    for piece in said_now:
        yield _event({"choices": [{"index": 0, "delta": {"content": piece}}]})
    yield _event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    yield _event(
        {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": len(said_now)}}
    )
    yield b"data: [DONE]\n\n"


def _event(tree: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps({"object": "chat.completion.chunk", **tree}).encode() + b"\n\n"


async def _serve(port: int) -> None:
    async with Speaker().running(port):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
