"""Gigabytes of a process that was killed are gone after the next start; those in use stay."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ai_assistant.devices.settings import EngineSettings
from ai_assistant.protocol.scratch import scratch_folder, sweep
from ai_assistant.workers.idle import Idle
from ai_assistant.workers.planning import Planner

MEASURES = """
from ai_assistant.store.anatomy import read_anatomy
from ai_assistant.store.models import starter_path
from ai_assistant.workers.trials import Measuring, Ways

path = starter_path()
Measuring(path, read_anatomy(path), lambda share: None).measure(Ways(threads=(1,)))
"""
HOLDS = """
import sys
from ai_assistant.protocol.scratch import scratch_folder

with scratch_folder("test") as folder:
    (folder / "large.gguf").write_bytes(b"x" * 1000)
    sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's folder for what is temporary, here and in processes that are started."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def until(happens: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.01)


def started(script: str, place: Path) -> subprocess.Popen[bytes]:
    """A process with a stand-in in a folder of its own."""
    before = set(place.glob("*/*.gguf"))
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE)
    until(lambda: set(place.glob("*/*.gguf")) > before or child.poll() is not None)
    assert child.poll() is None
    return child


def kill(child: subprocess.Popen[bytes]) -> None:
    child.send_signal(signal.SIGKILL)
    assert child.wait(10) == -signal.SIGKILL
    assert child.stdin
    child.stdin.close()


def test_stand_ins_of_killed_trials_go_when_a_node_starts(place: Path) -> None:
    kill(started(MEASURES, place))
    (left,) = place.glob("ai-assistant-twins-*")
    assert any(left.glob("*.gguf"))

    async def start() -> None:
        node = asyncio.create_task(
            Idle(Planner(EngineSettings(), place / "layouts"), measure=False).run()
        )
        await asyncio.to_thread(until, lambda: not left.exists(), 10)
        node.cancel()
        await asyncio.wait([node])

    asyncio.run(start())
    assert list(place.iterdir()) == []


def test_only_what_nobody_uses_goes(place: Path) -> None:
    killed, alive = started(HOLDS, place), started(HOLDS, place)
    kill(killed)
    (place / "ai-assistant-notes").write_text("somebody's own")
    (place / "ai-assistant-other").mkdir()
    assert len(list(place.glob("*/*.gguf"))) == 2
    sweep()
    (kept,) = place.glob("*/*.gguf")
    assert {one.name for one in place.iterdir()} == {
        kept.parent.name, "ai-assistant-notes", "ai-assistant-other",
    }  # fmt: skip
    alive.communicate(b"", 10)
    assert not kept.parent.exists()


def test_a_link_to_somebody_elses_folder_is_not_followed(place: Path) -> None:
    own = place / "own"
    own.mkdir()
    (own / ".in-use").touch()
    (place / "ai-assistant-twins-x").symlink_to(own)
    (place / "ai-assistant-twins-y").mkdir()
    (place / "ai-assistant-twins-y" / ".in-use").symlink_to(own / ".in-use")
    sweep()
    assert (own / ".in-use").exists()
    assert (place / "ai-assistant-twins-y").exists()


def test_nobody_sweeps_a_folder_that_is_just_made(place: Path) -> None:
    stop, problems = threading.Event(), list[BaseException]()

    def sweeping() -> None:
        while not stop.is_set():
            sweep()

    def making() -> None:
        try:
            for _ in range(150):
                with scratch_folder("race") as folder:
                    (folder / "file").touch()
                    assert os.listdir(folder)
        except BaseException as problem:  # noqa: BLE001 - told below
            problems.append(problem)

    sweepers = [threading.Thread(target=sweeping) for _ in range(3)]
    makers = [threading.Thread(target=making) for _ in range(3)]
    for thread in (*sweepers, *makers):
        thread.start()
    for thread in makers:
        thread.join()
    stop.set()
    for thread in sweepers:
        thread.join()
    assert problems == []
    assert list(place.iterdir()) == []
