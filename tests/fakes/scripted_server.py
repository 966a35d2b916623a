"""A server that answers byte for byte as it is told, and remembers what it was sent."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

Step = bytes | float
"""Bytes to send, or seconds to wait."""


@dataclass(frozen=True)
class Seen:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        return json.loads(self.raw)


class ScriptedServer:
    """HTTP/1.1 with keep-alive. `script` gives the steps of each answer, its head included."""

    def __init__(self, script: Callable[[Seen], Sequence[Step]]) -> None:
        self._script = script
        self.seen: list[Seen] = []
        self.connections = 0
        self.asked = asyncio.Event()
        self.someone_left = asyncio.Event()
        """A client went away while an answer ran."""
        self.url = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["ScriptedServer"]:
        tasks: set[asyncio.Task[Any]] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task
            tasks.add(task)
            self.connections += 1
            try:
                while True:
                    await self._serve(reader, writer)
            except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                tasks.discard(task)
                writer.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for task in list(tasks):
                task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        method, path, _ = first.split(" ")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        raw = await reader.readexactly(int(headers.get("content-length", "0")))
        seen = Seen(method, path, headers, raw)
        self.seen.append(seen)
        self.asked.set()
        for step in self._script(seen):
            if isinstance(step, float):
                await self._pause(reader, step)
            else:
                writer.write(step)
                await writer.drain()

    async def _pause(self, reader: asyncio.StreamReader, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            if await asyncio.wait_for(reader.read(1), seconds) == b"":
                self.someone_left.set()
                raise OSError("the client went away")


def stream(*events: Any, done: bool = True) -> list[Step]:
    """A whole answer of events, each in a chunk of its own; floats are pauses."""
    steps: list[Step] = [
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    ]
    for event in [*events, *(["[DONE]"] if done else [])]:
        steps.append(event if isinstance(event, float) else _chunk(_event(event)))
    return [*steps, b"0\r\n\r\n"]


def whole(body: Any, *, status: int = 200, **headers: str) -> list[Step]:
    """A whole answer as one object."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"content-type": "application/json", "content-length": str(len(data)), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return [f"HTTP/1.1 {status} Said\r\n{lines}\r\n".encode() + data]


def _event(event: Any) -> bytes:
    if isinstance(event, bytes):
        return event
    text = event if isinstance(event, str) else json.dumps(event)
    kind = f"event: {event['type']}\n" if isinstance(event, dict) and "type" in event else ""
    return f"{kind}data: {text}\n\n".encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def delta(finish: str | None = None, index: int = 0, **fields: Any) -> dict[str, Any]:
    """One event of OpenAI's chat stream."""
    choice = {"index": index, "delta": fields, "finish_reason": finish}
    return {"object": "chat.completion.chunk", "choices": [choice]}


def usage(prompt: int, completion: int, **details: Any) -> dict[str, Any]:
    """The event with the figures."""
    figures = {"prompt_tokens": prompt, "completion_tokens": completion, **details}
    return {"object": "chat.completion.chunk", "choices": [], "usage": figures}


def message(*blocks: list[Any], reason: str = "end_turn", stop: str | None = None,
            input_tokens: int = 9, cached: int = 0) -> list[dict[str, Any]]:  # fmt: skip
    """The events of an Anthropic message, as its documentation shows them.

    A block is its beginning and its deltas.
    """
    figures = {"input_tokens": input_tokens, "output_tokens": 1,
               "cache_read_input_tokens": cached}  # fmt: skip
    start = {"id": "msg_1", "type": "message", "role": "assistant", "content": [],
             "model": "m", "stop_reason": None, "usage": figures}  # fmt: skip
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}, {"type": "ping"}]
    for index, (begin, *deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": begin})
        events += [
            {"type": "content_block_delta", "index": index, "delta": change} for change in deltas
        ]
        events.append({"type": "content_block_stop", "index": index})
    end = {"stop_reason": reason, "stop_sequence": stop}
    events.append({"type": "message_delta", "delta": end, "usage": {"output_tokens": 12}})
    return [*events, {"type": "message_stop"}]


def text_block(*texts: str) -> list[Any]:
    """A block of text in pieces."""
    begin = {"type": "text", "text": ""}
    return [begin, *({"type": "text_delta", "text": text} for text in texts)]
