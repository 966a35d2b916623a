"""A client that costs next to nothing: it notes when bytes came and reads them afterwards."""

import asyncio
import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import httptools

from benchmarks.servers import Server

TIMEOUT_SECONDS = 1800.0
"""A long prompt behind fifteen others, on two cores, takes its time."""
GREEDY = {"temperature": 0, "top_k": 1, "repeat_penalty": 1.0, "ignore_eos": True}


class Refused(Exception):
    """The server answered with an error."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body[:500]}")
        self.status = status
        self.headers: dict[str, str] = {}


class Cut(ConnectionError):
    """The connection ended in the middle of an answer."""


@dataclass
class Answer:
    """A streamed answer as it came, and what it says."""

    started: float
    ended: float = 0.0
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    """By lower-case name."""
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    complete: bool = False

    @cached_property
    def events(self) -> list[tuple[float, dict[str, Any]]]:
        """Each event with the time when its last byte was there."""
        found: list[tuple[float, dict[str, Any]]] = []
        rest = b""
        for at, piece in self.pieces:
            *whole, rest = (rest + piece).replace(b"\r\n", b"\n").split(b"\n\n")
            for block in whole:
                data = block.removeprefix(b"data:").strip()
                if block.startswith(b"data:") and data != b"[DONE]":
                    found.append((at, json.loads(data)))
        return found

    @property
    def text(self) -> str:
        """All that was said."""
        return "".join(_said(event) for _, event in self.events)

    @property
    def first_token_seconds(self) -> float:
        """Until the first event with text, or with an end where no token gave text."""
        for at, event in self.events:
            if _said(event) or _finish(event):
                return at - self.started
        raise ValueError("the answer has no token")

    @property
    def seconds(self) -> float:
        """Until the last byte."""
        return self.ended - self.started

    @property
    def silences(self) -> list[tuple[float, float]]:
        """Between two pieces: when each began, and how many seconds it was."""
        times = [at for at, event in self.events if event.get("choices")]
        return [(one, other - one) for one, other in itertools.pairwise(times)]

    @property
    def finish(self) -> str | None:
        """Why it ended, as the server says."""
        return next((_finish(event) for _, event in self.events if _finish(event)), None)

    @property
    def usage(self) -> dict[str, Any]:
        """The server's count of tokens."""
        for _, event in reversed(self.events):
            if event.get("usage"):
                return event["usage"]
        raise ValueError("the answer has no usage")


async def ask(server: Server, prompt: str, tokens: int, **options: Any) -> Answer:
    """Stream one completion of plain text, greedy unless `options` say otherwise."""
    return await _stream(server, "/v1/completions", tokens, {"prompt": prompt, **options})


async def chat(server: Server, text: str, tokens: int, **options: Any) -> Answer:
    """Stream the answer to one chat message."""
    return await talk(server, [{"role": "user", "content": text}], tokens, **options)


async def talk(
    server: Server, messages: Sequence[dict[str, str]], tokens: int, **options: Any
) -> Answer:
    """Stream the next answer of a conversation."""
    return await _stream(server, "/v1/chat/completions", tokens, {"messages": messages, **options})


async def _stream(server: Server, path: str, tokens: int, fields: dict[str, Any]) -> Answer:
    usage = {"stream_options": {"include_usage": True}}
    body = {"max_tokens": tokens, "stream": True, **usage, **GREEDY, **fields}
    answer = await exchange(server, path, json.dumps(body).encode())
    if answer.status != 200:
        refusal = Refused(answer.status, b"".join(piece for _, piece in answer.pieces).decode())
        refusal.headers = answer.headers
        raise refusal
    if b'"error"' in (end := b"".join(piece for _, piece in answer.pieces[-2:])):
        raise Refused(answer.status, end.decode())
    return answer


async def ask_together(server: Server, prompts: list[str], tokens: int) -> list[Answer]:
    """All at the same moment."""
    return await asyncio.gather(*(ask(server, prompt, tokens) for prompt in prompts))


async def exchange(server: Server, path: str, body: bytes) -> Answer:
    """One POST and its answer, whatever it says; raises `Cut` and `OSError`."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {server.host}:{server.port}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    answer = Answer(time.perf_counter())
    async with asyncio.timeout(TIMEOUT_SECONDS):
        reader, writer = await asyncio.open_connection(server.host, server.port)
        try:
            writer.write(head.encode() + body)
            await _receive(reader, answer)
        finally:
            writer.close()
    answer.ended = time.perf_counter()
    return answer


async def _receive(reader: asyncio.StreamReader, answer: Answer) -> None:
    receiver = _Receiver(answer)
    parser = httptools.HttpResponseParser(receiver)
    while not answer.complete:
        data = await reader.read(1 << 16)
        if not data:
            raise Cut("the server hung up in the middle of an answer")
        receiver.now = time.perf_counter()
        parser.feed_data(data)
        answer.status = parser.get_status_code()


class _Receiver:
    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.now = 0.0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._answer.headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self._answer.pieces.append((self.now, body))

    def on_message_complete(self) -> None:
        self._answer.complete = True


def _said(event: dict[str, Any]) -> str:
    choices = event.get("choices", ())
    return "".join(c.get("text") or c.get("delta", {}).get("content") or "" for c in choices)


def _finish(event: dict[str, Any]) -> str | None:
    return next(
        (c["finish_reason"] for c in event.get("choices", ()) if c.get("finish_reason")), None
    )
