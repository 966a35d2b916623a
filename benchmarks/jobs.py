"""What batches cost: a line against the same request over HTTP, and the first use of jobs.

One node on the starter model. The requests give one token, so that what is not the engine shows.

    python -m benchmarks.jobs
"""

import argparse
import json
import statistics
import sys
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks import node
from benchmarks.report import Record, publish
from benchmarks.servers import Server

STARTER = Path("src/ai_assistant/store/starter/starter.gguf")
SLOTS = 16
LINES = 2000
ENDED = ("completed", "failed", "expired", "cancelled")
BODY: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Say hello."}],
    "max_tokens": 1,
    "priority": "batch",
}


@dataclass
class Cost:
    """Of `count` requests."""

    count: int
    seconds: float
    cpu_seconds: float

    def each_ms(self) -> float:
        return 1000 * self.seconds / self.count

    def cpu_each_ms(self) -> float:
        return 1000 * self.cpu_seconds / self.count


@dataclass
class Pulse:
    """How long the node takes for `/livez`, asked again and again from a thread."""

    url: str
    seconds: list[float] = field(default_factory=list[float])
    ended: bool = False

    def beat(self) -> None:
        with httpx.Client(base_url=self.url) as client:
            while not self.ended:
                begun = time.perf_counter()
                client.get("/livez")
                self.seconds.append(time.perf_counter() - begun)
                time.sleep(0.002)


@contextmanager
def pulse(url: str) -> Generator[Pulse]:
    found = Pulse(url)
    thread = threading.Thread(target=found.beat)
    thread.start()
    try:
        yield found
    finally:
        found.ended = True
        thread.join()


def batch(client: httpx.Client, count: int) -> float:
    """Seconds from the order to the end."""
    lines = (
        {"custom_id": f"r{i}", "method": "POST", "url": "/v1/chat/completions", "body": BODY}
        for i in range(count)
    )
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    file = client.post("/v1/files", data={"purpose": "batch"}, files={"file": content}).json()
    order = {
        "input_file_id": file["id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    begun = time.perf_counter()
    made = client.post("/v1/batches", json=order).json()
    while (found := client.get(f"/v1/batches/{made['id']}").json())["status"] not in ENDED:
        time.sleep(0.05)
    seconds = time.perf_counter() - begun
    assert found["request_counts"]["completed"] == count, found
    return seconds


def over_http(client: httpx.Client, count: int) -> float:
    """Seconds for as many requests, as many at once as a batch has under way."""

    def ask(_: int) -> None:
        client.post("/v1/chat/completions", json=BODY).raise_for_status()

    begun = time.perf_counter()
    with ThreadPoolExecutor(SLOTS + 2) as pool:
        list(pool.map(ask, range(count)))
    return time.perf_counter() - begun


def measured(process: psutil.Process, count: int, work: Any) -> Cost:
    before = process.cpu_times()
    seconds = work(count)
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    return Cost(count, seconds, used)


def measure(server: Server, lines: int) -> list[Record]:
    process = psutil.Process(server.get("/status")["pid"])
    url = f"http://{server.host}:{server.port}"
    limits = httpx.Limits(max_connections=64)
    with httpx.Client(base_url=url, timeout=60, limits=limits) as client:
        with pulse(url) as calm:
            time.sleep(1)
        memory = process.memory_info().rss
        with pulse(url) as first:
            begun = time.perf_counter()
            client.get("/v1/files").raise_for_status()
            opened = time.perf_counter() - begun
            first_batch = batch(client, 1)
        next_batch = batch(client, 1)
        over_http(client, 100)
        direct = measured(process, lines, lambda n: over_http(client, n))
        batched = measured(process, lines, lambda n: batch(client, n))
        grown = process.memory_info().rss - memory
    calm_ms = 1000 * statistics.median(calm.seconds)
    return [
        Record("a line of a batch", batched.each_ms(), "ms", peer=direct.each_ms()),
        Record("node's CPU per line", batched.cpu_each_ms(), "ms", peer=direct.cpu_each_ms()),
        Record("first look at jobs", opened, "s"),
        Record("first batch of one line", first_batch, "s"),
        Record("next batch of one line", next_batch, "s"),
        Record("longest answer of /livez meanwhile", 1000 * max(first.seconds), "ms", peer=calm_ms),
        Record("memory", grown / 1e6, "MB"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=LINES)
    given = parser.parse_args()
    with node.start(STARTER.resolve(), slots=SLOTS, context=1024) as server:
        records = measure(server, given.lines)
    publish("jobs", records, notes=["The peer of a line is the same request over HTTP."])
    return 0


if __name__ == "__main__":
    sys.exit(main())
