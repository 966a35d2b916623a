"""Starting agents: what they are told, and that nothing of the user's is touched."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Invoke, serving
from tests.fakes.fake_service import FakeService

from ai_assistant.cli.launch_clients import AGENTS, Place
from ai_assistant.gateway.settings import GatewaySettings

PLACE = Place(url="http://127.0.0.1:7717", key="k y", model="org/big", context=40_000)
TELL = """#!/bin/sh
env | grep -E "^(ANTHROPIC|OPENAI|OPENCODE|CODEX|CLAUDE)_" | sort
for word in "$@"; do echo "word=$word"; done
exit 7
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs in the agents' place, first on the path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for agent in AGENTS.values():
        (folder / agent.program).write_text(TELL)
        (folder / agent.program).chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")  # noqa: TID251
    return folder


@pytest.mark.parametrize("agent", AGENTS)
def test_every_agent_learns_address_key_and_model(agent: str) -> None:
    recipe = AGENTS[agent].recipe(PLACE)
    told = json.dumps([recipe.variables, recipe.arguments])
    for fact in (PLACE.url, PLACE.key, PLACE.model):
        assert fact in told
    assert not any(PLACE.key in argument for argument in recipe.arguments)


@pytest.mark.skipif(os.name == "nt", reason="the program is a shell script")
def test_the_agent_takes_the_commands_place(programs: Path) -> None:
    with serving(FakeService(), GatewaySettings()) as url:
        command = [sys.executable, "-m", "ai_assistant", "launch", "--url", url, "--model",
                   "org/big", "codex", "exec", "--json", "say hi"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    lines = done.stdout.splitlines()
    assert "CODEX_NODE_KEY=ai-assistant" in lines
    words = [line.removeprefix("word=") for line in lines if line.startswith("word=")]
    assert words[-3:] == ["exec", "--json", "say hi"]
    assert words[words.index("-m") + 1] == "org/big"
    assert any(f'base_url="{url}/v1"' in word for word in words)


def test_printed_lines_say_the_same_to_a_shell(invoke: Invoke, programs: Path) -> None:
    with serving(FakeService(), GatewaySettings()) as url:
        result = invoke("launch", "--url", url, "--print", "claude", "-p", "it's")
    assert result.exit_code == 0
    done = subprocess.run(["sh", "-c", result.stdout], capture_output=True, text=True, check=False)
    assert f"ANTHROPIC_BASE_URL={url}" in done.stdout
    assert done.stdout.splitlines()[-2:] == ["word=-p", "word=it's"]


def test_a_small_context_is_told(invoke: Invoke) -> None:
    with serving(FakeService(), GatewaySettings()) as url:
        result = invoke("launch", "--url", url, "--print", "opencode")
    assert "room for 2,048" in result.stderr


def test_an_unknown_model_is_refused_with_the_known_ones(invoke: Invoke) -> None:
    with serving(FakeService(), GatewaySettings()) as url:
        result = invoke("launch", "--url", url, "--model", "gpt-9", "codex")
    assert result.exit_code == 2
    assert "org/big" in result.output


def test_an_agent_that_is_not_installed_says_how_to_get_it(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with serving(FakeService(), GatewaySettings()) as url:
        result = invoke("launch", "--url", url, "qwen")
    assert result.exit_code == 1
    assert "npm install -g @qwen-code/qwen-code" in result.output


def test_without_a_node_nothing_is_started(invoke: Invoke) -> None:
    assert invoke("launch", "--url", "http://127.0.0.1:1", "codex").exit_code == 3
