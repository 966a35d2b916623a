"""The command with a node of its own: the starter model, real processes, a real terminal."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.system.running_node import COMMAND, RunningNode

if sys.platform == "win32":
    pytest.skip("signals and terminals of POSIX", allow_module_level=True)

from tests.cli.terminal import Terminal


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A home without a node: the port of the settings is one where nothing listens."""
    home = {"PATH": os.defpath, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    return home | {"AI_ASSISTANT_SERVER_PORT": "1", "AI_ASSISTANT_ENGINE_THREADS": "1"}


@pytest.fixture
def terminal(environ: dict[str, str]) -> Iterator[Terminal]:
    chat = Terminal([*COMMAND, "chat"], environ)
    yield chat
    chat.close()


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_chat_brings_its_own_node_and_takes_it_along(terminal: Terminal) -> None:
    terminal.expect("invents facts")
    terminal.expect(">>>")
    below = psutil.Process(terminal.process.pid).children(recursive=True)
    assert below, "no node was started"
    terminal.type("/set max_tokens 1500\r")
    terminal.expect("max_tokens = 1500")  # the prompt before it is drawn more than once
    terminal.expect(">>>")
    terminal.type("Tell me a very long story.\r")
    terminal.expect("\x1b[?2004l")  # the entry was taken
    terminal.expect(" ")
    terminal.type("\x03")  # goes to the whole foreground group: the node must not be in it
    terminal.expect(">>>")
    terminal.type("/set max_tokens 5\r")
    terminal.expect(">>>")
    terminal.type("/stats on\r")
    terminal.expect(">>>")
    terminal.type("Hello\r")
    terminal.expect("first token after")
    terminal.expect(">>>")
    terminal.type("\x04")
    assert terminal.leave() == 0
    deadline = time.monotonic() + 10
    while not all(gone(one) for one in below) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [one for one in below if not gone(one)] == []


def test_one_question_without_a_node(environ: dict[str, str]) -> None:
    done = subprocess.run(
        [*COMMAND, "ask", "Hello!", "--max-tokens", "5", "--json"],
        env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
    )  # fmt: skip
    shown = json.loads(done.stdout)
    assert shown["model"] == "starter"
    assert shown["usage"]["completion_tokens"] >= 1
    assert "No node is running" in done.stderr


def test_ctrl_c_ends_a_question_with_130(node: RunningNode, environ: dict[str, str]) -> None:
    arguments = [*COMMAND, "ask", "Tell me a story.", "--url", node.url]
    with subprocess.Popen(
        arguments, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        assert b"Traceback" not in process.stderr.read()
    assert process.returncode == 130


def test_an_answer_fits_its_schema(node: RunningNode, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    word = {"enum": ["red", "blue"]}
    schema.write_text(
        json.dumps({"type": "object", "properties": {"colour": word}, "required": ["colour"],
                    "additionalProperties": False})
    )  # fmt: skip
    done = node.command(
        "ask", "A colour", "--schema", str(schema), "--max-tokens", "200", stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["colour"] in ("red", "blue")


def test_what_runs_is_shown(node: RunningNode) -> None:
    for name in ("ps", "models"):
        done = node.command(name)
        assert done.returncode == 0, done.stderr
        assert "starter" in done.stdout
        assert "ready" in done.stdout
