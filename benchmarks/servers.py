"""A server under test as a child process: its address, its memory, its processor time."""

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import psutil

from benchmarks.source import BENCH

START_SECONDS = 180.0
STOP_SECONDS = 20.0


@dataclass(frozen=True)
class Server:
    """A running server; `process` is the root of its tree."""

    name: str
    host: str
    port: int
    process: psutil.Process
    log: Path

    def tree(self) -> list[psutil.Process]:
        """Every process of the server, the root first."""
        return [self.process, *self.process.children(recursive=True)]

    def memory(self) -> list[int]:
        """Bytes that each process holds: proportional set size where the system tells it."""
        return [_proportional(process) for process in self.tree()]

    def megabytes(self) -> list[float]:
        """The same in MB: the root, and the sum of the others."""
        root, *others = self.memory()
        return [root / 1e6, sum(others) / 1e6]

    def peak(self) -> int:
        """Sum of each process's largest resident set so far."""
        return sum(_high_water(process) for process in self.tree())

    def cpu_seconds(self) -> float:
        """Processor time of all processes since their start."""
        times = [process.cpu_times() for process in self.tree()]
        return sum(each.user + each.system for each in times)

    def idle_cpu(self, seconds: float = 2.0) -> float:
        """Cores that the server burns while nobody asks anything."""
        before = self.cpu_seconds()
        time.sleep(seconds)
        return (self.cpu_seconds() - before) / seconds

    def get(self, path: str) -> Any:
        """What it answers to a GET, read as JSON."""
        with urlopen(f"http://{self.host}:{self.port}{path}", timeout=10) as response:
            return json.load(response)

    def kill(self) -> None:
        """End all its processes at once, as a power cut would."""
        family = self.tree()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=STOP_SECONDS)

    def words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-2000:]


@contextlib.contextmanager
def launched(
    name: str,
    command: Sequence[str | Path],
    *,
    port: int,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    healthy: str = "/health",
) -> Iterator[Server]:
    """Start `command`, wait until `healthy` says 200, end it and its children afterwards."""
    log = BENCH / "logs" / f"{name}-{port}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        child = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=os.environ | (environment or {}),  # noqa: TID251 (handed on, not read)
        )
    server = Server(name, "127.0.0.1", port, psutil.Process(child.pid), log)
    try:
        _wait_healthy(server, child, healthy)
        yield server
    finally:
        _end(server, child)


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_healthy(server: Server, child: subprocess.Popen[bytes], path: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise RuntimeError(f"{server.name} ended at its start:\n{server.words()}")
        with (
            contextlib.suppress(URLError, ConnectionError, TimeoutError),
            urlopen(f"http://{server.host}:{server.port}{path}", timeout=5) as response,
        ):
            if response.status == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"{server.name} is not healthy after {START_SECONDS:.0f} s")


def _end(server: Server, child: subprocess.Popen[bytes]) -> None:
    family = server.tree()[1:] if child.poll() is None else []
    child.terminate()
    try:
        child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    for left in psutil.wait_procs(family, timeout=2)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            left.kill()


def _proportional(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.NoSuchProcess):
        info = process.memory_full_info()
        return int(getattr(info, "pss", info.rss))
    return 0


def _high_water(process: psutil.Process) -> int:
    status = Path(f"/proc/{process.pid}/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return int(process.memory_info().rss)
