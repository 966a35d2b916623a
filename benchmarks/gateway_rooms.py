"""What gateway, scheduler, worker and pipes add to a small streamed chat request.

The same raw client asks a node whose engine is a process that answers at once, and a bare ASGI
application on the same server that streams the same bytes in as many writes. Each runs in a
process of its own. What our rooms add is the difference of the two medians.
"""

import asyncio
import json
import multiprocessing
import socket
import statistics
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from ai_assistant.gateway.app import build_app
from ai_assistant.gateway.server import new_loop, serve
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.status import ModelInfo
from ai_assistant.protocol.worker import Worker
from ai_assistant.scheduler.scheduler import Scheduler
from ai_assistant.scheduler.settings import SchedulerSettings
from ai_assistant.workers.local import LocalWorker
from benchmarks.crowd import crowd
from benchmarks.report import Record
from benchmarks.rounds import quantile

TOKENS = 16
WARM_UP = 200
CLIENTS = 64
ROUNDS = 5
BAR_MS = 2.0
END = b"0\r\n\r\n"

BODY = json.dumps(
    {
        "model": "starter",
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Say something short about the sea."},
        ],
        "max_tokens": TOKENS,
        "temperature": 0.7,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
).encode()
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nAuthorization: Bearer none\r\n"
    b"Content-Length: %d\r\n\r\n" % len(BODY)
) + BODY


MODEL = ModelInfo(
    id="starter", name="none", path="none", size_bytes=0, architecture="none", quantisation="none",
    parameters=0, context_train=2048,
)  # fmt: skip


def service() -> Scheduler:
    """The real scheduler and worker; at the end of the worker's pipes a process that answers at
    once, each token in a frame of its own."""
    plan = EnginePlan(
        model_path="none", context_limit=2048, cells=2048, slots=64, retained=0, chunk=512,
        threads=1, threads_batch=1,
    )  # fmt: skip
    command = (sys.executable, "-m", "benchmarks.fake_engine", str(TOKENS))

    def make_worker(model: ModelInfo) -> tuple[Worker, int]:
        return LocalWorker(model, plan, command=command), 0

    return Scheduler((MODEL,), make_worker, SchedulerSettings(), version="0", load_wait_seconds=20)


class BareApp:
    """Streams given bytes in given pieces: what HTTP itself costs."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b""})


def serve_one(pieces: list[bytes] | None, pipe: Connection) -> None:
    """A server process: the gateway, or the bare application if there are pieces."""
    settings = GatewaySettings(port=0)

    async def run() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_reader(pipe.fileno(), stop.set)
        if pieces is not None:
            await serve(BareApp(pieces), settings, on_ready=pipe.send, stop=stop)
            return
        scheduler = service()
        await scheduler.start()
        await serve(build_app(scheduler, settings), settings, on_ready=pipe.send, stop=stop)
        await scheduler.stop()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


@contextmanager
def running(pieces: list[bytes] | None) -> Generator[int]:
    """A server process; gives its port."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve_one, args=(pieces, theirs))
    process.start()
    try:
        yield int(ours.recv().rpartition(":")[2])
    finally:
        ours.send("stop")
        process.join(10)


def ask(connection: socket.socket) -> tuple[float, float, bytes]:
    """One request: milliseconds to the first byte of the body and to the end, and the answer."""
    started = time.perf_counter()
    connection.sendall(REQUEST)
    answer = connection.recv(1 << 16)
    while b"data:" not in answer:
        answer += connection.recv(1 << 16)
    first = time.perf_counter()
    while not answer.endswith(END):
        answer += connection.recv(1 << 16)
    ended = time.perf_counter()
    return 1000 * (first - started), 1000 * (ended - started), answer


def capture(port: int) -> list[bytes]:
    """The gateway's answer, in the pieces in which it was written."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        body = ask(connection)[2].partition(b"\r\n\r\n")[2]
    pieces: list[bytes] = []
    while not body.startswith(END):
        size, _, rest = body.partition(b"\r\n")
        pieces.append(rest[: int(size, 16)])
        body = rest[int(size, 16) + 2 :]
    return pieces


def sequential(ports: list[int], count: int) -> list[list[tuple[float, float]]]:
    """`count` requests to each server, in turns, so that a busy moment hits both."""
    connections = [socket.create_connection(("127.0.0.1", port)) for port in ports]
    times: list[list[tuple[float, float]]] = [[] for _ in ports]
    for round_number in range(count + WARM_UP):
        for connection, mine in zip(connections, times, strict=True):
            first, total, _ = ask(connection)
            if round_number >= WARM_UP:
                mine.append((first, total))
    for connection in connections:
        connection.close()
    return times


def crowds(ports: list[int], count: int) -> list[float]:
    """The median rate of each server, in turns."""
    rates: list[list[float]] = [[] for _ in ports]
    for _ in range(ROUNDS):
        for port, mine in zip(ports, rates, strict=True):
            asked = crowd(
                port, REQUEST, CLIENTS * count, clients=CLIENTS, word=b'" word"', words=TOKENS - 1
            )
            mine.append(asked.rate)
    return [statistics.median(mine) for mine in rates]


def latencies(ours: list[tuple[float, float]], bare: list[tuple[float, float]]) -> list[Record]:
    """The latencies, side by side."""
    totals, bare_totals = [t for _, t in ours], [t for _, t in bare]
    found = [
        Record(
            f"own rooms: whole answer, {name}",
            quantile(totals, share), "ms", quantile(bare_totals, share),
        )
        for name, share in (("median", 0.5), ("p95", 0.95), ("p99", 0.99))
    ]  # fmt: skip
    first, bare_first = (statistics.median(f for f, _ in times) for times in (ours, bare))
    added = found[0].value - (found[0].peer or 0)
    bar = f"≤ {BAR_MS:g} ms"
    return [
        *found,
        Record("own rooms: first token, added, median", first - bare_first, "ms"),
        Record("own rooms: added, median", added, "ms", bar=bar, holds=added <= BAR_MS),
    ]


def measured(count: int) -> tuple[list[Record], list[str]]:
    """The figures, and what one should know of them."""
    with running(None) as port:
        pieces = capture(port)
        with running(pieces) as bare_port:
            ours, bare = sequential([port, bare_port], count)
            rate, bare_rate = crowds([port, bare_port], max(count // CLIENTS // ROUNDS, 2))
    name = f"own rooms: {CLIENTS} clients"
    crowded = Record(name, rate, "requests/s", peer=bare_rate, ratio=rate / bare_rate)
    return [*latencies(ours, bare), crowded], [
        f"own rooms: engine's pipes, no model; peer: a bare ASGI application, same server, same "
        f"bytes in {len(pieces)} writes; {TOKENS} tokens an answer, one kept connection",
    ]
