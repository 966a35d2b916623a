"""A node whose network is cut and comes back: in a namespace of its own, with a real server
beyond."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
OUTSIDE, GATEWAY, INSIDE = "203.0.113.7", "10.213.77.1", "10.213.77.2"


class World(NamedTuple):
    """A namespace, its device, and a server that is reached through its default route."""

    name: str
    device: str
    address: str
    asked: list[str]


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(done.stderr.strip())


class Far(ThreadingHTTPServer):
    """Answers every chat with its last words."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__((OUTSIDE, 0), Answer)


class Answer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = body["messages"][-1]["content"]
        server: Any = self.server
        server.asked.append(text)
        events = [
            {"choices": [{"index": 0, "delta": {"content": f"far: {text}"}}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        ]
        lines = [f"data: {json.dumps(event)}\n\n" for event in events] + ["data: [DONE]\n\n"]
        data = "".join(lines).encode()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(data)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None: ...


@contextlib.contextmanager
def namespace() -> Iterator[World]:
    if os.name != "posix" or not shutil.which("ip"):
        pytest.skip("there is no `ip` command here")
    mark = f"aia{os.getpid() % 100_000}"
    near, far = f"{mark}n", f"{mark}f"
    try:
        ip("netns", "add", mark)
    except OSError as error:
        pytest.skip(f"network namespaces are not allowed here: {error}")
    try:
        ip("link", "add", far, "type", "veth", "peer", "name", near, "netns", mark)
        ip("addr", "add", f"{GATEWAY}/24", "dev", far)
        ip("addr", "add", f"{OUTSIDE}/32", "dev", far)
        ip("link", "set", far, "up")
        for words in (
            ("addr", "add", f"{INSIDE}/24", "dev", near),
            ("link", "set", "lo", "up"),
            ("link", "set", near, "up"),
            ("route", "add", "default", "via", GATEWAY),
            # No question who has that address while the network is cut.
            ("neigh", "replace", GATEWAY, "lladdr", _hardware(far), "dev", near, "nud",
             "permanent"),
        ):  # fmt: skip
            ip("-n", mark, *words)
        # The system's own packets of IPv6 are not ours.
        off = f"echo 1 > /proc/sys/net/ipv6/conf/{near}/disable_ipv6 || true"
        subprocess.run(["ip", "netns", "exec", mark, "sh", "-c", off], check=False)
        server = Far()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield World(mark, near, f"{OUTSIDE}:{server.server_address[1]}", server.asked)
        finally:
            server.shutdown()
            server.server_close()
    except OSError as error:
        pytest.skip(f"a namespace cannot be connected here: {error}")
    finally:
        with contextlib.suppress(OSError):
            ip("netns", "del", mark)
        with contextlib.suppress(OSError):
            ip("link", "del", far)


def _hardware(device: str) -> str:
    return Path(f"/sys/class/net/{device}/address").read_text().strip()


def test_without_a_network_the_node_serves_and_keeps_what_waits(tmp_path: Path) -> None:
    with namespace() as world:
        done = subprocess.run(
            ["ip", "netns", "exec", world.name, sys.executable, "-m", "tests.jobs.offline_scenario",
             str(tmp_path), world.address, GATEWAY, world.device],
            capture_output=True, text=True, timeout=280, check=False,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        seen = json.loads(done.stdout.splitlines()[-1])
        asked = world.asked
    assert seen["before"] == seen["after"] == 200
    assert seen["local"] == 200
    assert seen["refused"] == [502, "provider_unreachable"]
    assert seen["fallback"] == "either"
    assert seen["stored"] == [202] * 3
    assert seen["waits"] == seen["waits again"] == [["in_progress", "network"]] * 3
    assert seen["status"]["waiting"] == {"network": 3}
    assert not seen["status"]["online"]
    assert seen["online"]
    assert seen["packets"] == 0
    assert seen["ended"] == [["completed", None]] * 3
    assert seen["answers"] == [f"far: waits {n}" for n in range(3)]
    assert sorted(asked) == ["after", "before", "waits 0", "waits 1", "waits 2"]
