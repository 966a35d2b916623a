"""A proxy that stands before a real server and does to its answers what networks do."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

Kind = Literal[
    "none",  # hand it on
    "late",  # hand it on after `seconds`
    "silent",  # take the request and never answer
    "status",  # answer with `status` and `headers` in the server's place
    "pings",  # only comments, for ever
    "stall",  # hand on `after` events, then nothing, with the connection open
    "stall-pings",  # hand on `after` events, then only comments
    "reset",  # hand on `after` events and half of the next one, then reset
    "close",  # the same, then an orderly end
    "garbage",  # hand on `after` events, then nonsense
    "slow",  # hand on in pieces of `size` bytes, `seconds` apart
    "refuse",  # reset the connection before the request is read
]


@dataclass(frozen=True)
class Fault:
    """What happens to one request."""

    kind: Kind = "none"
    after: int = 0
    seconds: float = 0.0
    size: int = 7
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""


_PING = b": ping\n\n"


class FaultProxy:
    """One request a connection; faults are used up one a request, then `then` holds."""

    def __init__(self, upstream: str, *faults: Fault, then: Fault | None = None) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.faults = list(faults)
        self.then = then or Fault()
        self.requests = 0
        self.left: list[float] = []
        """Loop times at which clients left before the end."""
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["FaultProxy"]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    @contextlib.contextmanager
    def in_thread(self) -> Iterator["FaultProxy"]:
        """The same, for tests that are not asyncio themselves."""
        started, ended = threading.Event(), asyncio.Event()
        loops: list[asyncio.AbstractEventLoop] = []

        async def serve() -> None:
            async with self.running():
                loops.append(asyncio.get_running_loop())
                started.set()
                await ended.wait()

        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        started.wait(10)
        try:
            yield self
        finally:
            loops[0].call_soon_threadsafe(ended.set)
            thread.join(10)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tasks.discard(task)
            with contextlib.suppress(OSError):
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = self.faults.pop(0) if self.faults else self.then
        self.requests += 1
        if fault.kind == "refuse":
            _reset(writer)
            return
        request = await _read_request(reader)
        gone = asyncio.create_task(self._watch(reader))
        try:
            answer = asyncio.create_task(self._answer(fault, request, writer))
            await asyncio.wait([gone, answer], return_when=asyncio.FIRST_COMPLETED)
            answer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await answer
        finally:
            gone.cancel()

    async def _watch(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            await reader.read(1)
        self.left.append(asyncio.get_running_loop().time())

    async def _answer(self, fault: Fault, request: bytes, writer: asyncio.StreamWriter) -> None:
        match fault.kind:
            case "silent":
                await asyncio.Event().wait()
            case "status":
                writer.write(_head(fault) + fault.body)
                await writer.drain()
                return
            case "pings":
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                    b"connection: close\r\n\r\n"
                )
                await _ping(writer, chunked=False)
            case "late":
                await asyncio.sleep(fault.seconds)
            case _:
                pass
        await self._forward(fault, request, writer)

    async def _forward(self, fault: Fault, request: bytes, writer: asyncio.StreamWriter) -> None:
        source, sink = await asyncio.open_connection(*self._upstream)
        try:
            sink.write(request)
            seen = b""
            while data := await source.read(1 << 16):
                if fault.kind == "slow":
                    for start in range(0, len(data), fault.size):
                        writer.write(data[start : start + fault.size])
                        await asyncio.sleep(fault.seconds)
                    continue
                seen += data
                cut = _end_of_event(seen, fault.after) if _cuts(fault) else None
                if cut is None:
                    writer.write(data)
                    await writer.drain()
                    continue
                writer.write(data[: max(0, len(data) - (len(seen) - cut))])
                await writer.drain()
                await self._strike(fault, seen[cut:], source, writer)
                return
        finally:
            sink.close()

    async def _strike(
        self, fault: Fault, rest: bytes, source: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if fault.kind == "stall":
            await asyncio.Event().wait()
        if fault.kind == "stall-pings":
            await _ping(writer, chunked=True)
        if fault.kind == "garbage":
            nonsense = b'data: {\x00\xff"choices": [nonsense\n\n'
            writer.write(b"%x\r\n%s\r\n" % (len(nonsense), nonsense))
            await writer.drain()
            await asyncio.Event().wait()
        while len(rest) < 60 and (more := await source.read(1 << 16)):
            rest += more
        writer.write(rest[: max(1, len(rest) // 2)])
        await writer.drain()
        if fault.kind == "reset":
            await asyncio.sleep(0.01)
            _reset(writer)


def _cuts(fault: Fault) -> bool:
    return fault.kind in ("stall", "stall-pings", "reset", "close", "garbage")


def _end_of_event(seen: bytes, count: int) -> int | None:
    """Where the chunk with the `count`-th event ends; 0 events: where the body begins."""
    position = seen.find(b"\r\n\r\n") + 4
    if position < 4:
        return None
    for _ in range(count):
        position = seen.find(b"\n\n\r\n", position) + 4
        if position < 4:
            return None
    return position


async def _ping(writer: asyncio.StreamWriter, *, chunked: bool) -> None:
    frame = b"%x\r\n%s\r\n" % (len(_PING), _PING) if chunked else _PING
    while True:
        writer.write(frame)
        await writer.drain()
        await asyncio.sleep(0.02)


def _head(fault: Fault) -> bytes:
    fields = {"content-length": str(len(fault.body)), "connection": "close", **fault.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {fault.status} Fault\r\n{lines}\r\n".encode()


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    """A whole request, asking for the connection to be closed after the answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head[:-4].split(b"\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:")),
        0,
    )
    kept = [line for line in lines if not line.lower().startswith(b"connection:")]
    body = await reader.readexactly(length)
    return b"\r\n".join([*kept, b"connection: close", b"", body])


def _reset(writer: asyncio.StreamWriter) -> None:
    """End with a reset in the place of an orderly end."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def each(kinds: Sequence[Kind], **options: int) -> list[Fault]:
    """One fault of every kind."""
    return [Fault(kind, **options) for kind in kinds]
