"""A proxy that stands before a real server and does to its answers what networks do."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator
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


Route = Callable[[bytes], tuple[Fault, bytes]]
"""A request to what happens to it, and the request as it is handed on."""


class FaultProxy:
    """One request a connection; faults are used up one a request, then `then` holds.

    With a `route` each request chooses for itself.
    """

    def __init__(
        self,
        upstream: str,
        *faults: Fault,
        then: Fault | None = None,
        route: Route | None = None,
    ) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.faults = list(faults)
        self.then = then or Fault()
        self._route = route
        self.requests = 0
        self.events: list[bytes] = []
        """What the server said, whatever became of it."""
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
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            with contextlib.suppress(OSError):
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = self.faults.pop(0) if self.faults else self.then
        self.requests += 1
        if fault.kind == "refuse" and self._route is None:
            _reset(writer)
            return
        request = await _read_request(reader)
        if self._route is not None:
            fault, request = self._route(request)
        if fault.kind == "refuse":
            _reset(writer)
            return
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
            head = await source.readuntil(b"\r\n\r\n")
            if b"chunked" not in head.lower():
                writer.write(head + await source.read())
                await writer.drain()
                return
            await _send(fault, writer, head)
            # An event a chunk, however the server cut them, so that faults strike where they say.
            count = 0
            async for event in _events(source):
                self.events.append(event)
                if count == fault.after and fault.kind in _CUTTING:
                    await _strike(fault, event, writer)
                    return
                await _send(fault, writer, _chunk(event))
                count += 1
            await _send(fault, writer, b"0\r\n\r\n")
        finally:
            sink.close()


_CUTTING = ("stall", "stall-pings", "reset", "close", "garbage")


async def _events(source: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """What the server says, event by event; raises `IncompleteReadError` if it dies."""
    rest = b""
    while size := int((await source.readuntil(b"\r\n")).split(b";")[0], 16):
        rest += (await source.readexactly(size + 2))[:-2]
        *whole, rest = rest.split(b"\n\n")
        for event in whole:
            yield event + b"\n\n"
    if rest:
        yield rest


async def _send(fault: Fault, writer: asyncio.StreamWriter, data: bytes) -> None:
    if fault.kind != "slow":
        writer.write(data)
        await writer.drain()
        return
    for start in range(0, len(data), fault.size):
        writer.write(data[start : start + fault.size])
        await writer.drain()
        await asyncio.sleep(fault.seconds)


async def _strike(fault: Fault, event: bytes, writer: asyncio.StreamWriter) -> None:
    match fault.kind:
        case "stall":
            await asyncio.Event().wait()
        case "stall-pings":
            await _ping(writer, chunked=True)
        case "garbage":
            writer.write(_chunk(b'data: {\x00\xff"choices": [nonsense\n\n'))
            await writer.drain()
            await asyncio.Event().wait()
        case _:
            frame = _chunk(event)
            writer.write(frame[: len(frame) // 2])
            await writer.drain()
            if fault.kind == "reset":
                await asyncio.sleep(0.01)
                _reset(writer)


async def _ping(writer: asyncio.StreamWriter, *, chunked: bool) -> None:
    while True:
        writer.write(_chunk(_PING) if chunked else _PING)
        await writer.drain()
        await asyncio.sleep(0.02)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


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
