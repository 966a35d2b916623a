"""A node in a container whose memory gets short: it gives up what it can, and nobody is killed."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from benchmarks.cgroup import Group, NotPermitted, limited
from tests.system.running_node import RunningNode

MB = 1 << 20
LIMIT = 900 * MB
HOG = """
import sys
held = []
for line in sys.stdin:
    held.append(bytearray(b"x") * int(line))
    print("held", flush=True)
"""


class Hog:
    """Another program of the container, which wants more and more memory."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", HOG], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid

    def take(self, size: int) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{size}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "held\n"

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def group() -> Iterator[Group]:
    try:
        with limited(LIMIT) as made:
            yield made
    except NotPermitted as reason:
        pytest.skip(f"no memory limit can be set here: {reason}")


@pytest.mark.slow
def test_a_node_gives_memory_up_before_the_kernel_takes_it(group: Group, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        node = RunningNode(tmp_path, AI_ASSISTANT_CACHE_MEMORY_GB="0.2")
        stack.callback(node.stop)
        group.join(node.process.pid)
        hog = Hog()
        stack.callback(hog.stop)
        group.join(hog.pid)
        engine = node.wait_ready()["engine"]
        for process in psutil.Process(node.process.pid).children(recursive=True):
            group.join(process.pid)
        hog.take(50 * MB)
        assert "memory is" not in node.log.read_text()
        while group.used < LIMIT * 0.97:
            hog.take(10 * MB)
        node.wait_for(lambda: "memory is" in node.log.read_text())
        answer = node.openai.chat.completions.create(
            model="starter", messages=[{"role": "user", "content": "Hello"}], max_tokens=8
        )
        assert answer.choices[0].message.content
        assert node.model()["engine"]["pid"] == engine["pid"] or node.model()["restarts"] == 0
        assert group.killed == 0
        assert group.swapped == 0
