"""Real coding agents from npm's registry, started by `ai-assistant launch` in a home apart."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest


class Agent(NamedTuple):
    """How the tests install and talk to one."""

    package: str
    ask: tuple[str, ...]
    """Arguments before the question; it may run commands."""
    tool: str
    """Its tool that runs a command in a shell."""
    command: str
    """The argument of that tool that holds the command."""


AGENTS = {
    "claude": Agent("@anthropic-ai/claude-code@2.1.197", ("--allowedTools", "Bash", "-p"),
                    "Bash", "command"),
    "codex": Agent("@openai/codex@0.169.0",
                   ("exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"),
                   "exec_command", "cmd"),
    "opencode": Agent("opencode-ai@1.18.33", ("run",), "bash", "command"),
    "qwen": Agent("@qwen-code/qwen-code@0.15.10", ("--approval-mode", "yolo", "-p"),
                  "run_shell_command", "command"),
}  # fmt: skip


def install(name: str, folder: Path) -> Path:
    """The folder with the agent's program."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    folder.mkdir()
    (folder / "package.json").write_text("{}")
    command = [npm, "install", "--no-audit", "--no-fund", AGENTS[name].package]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"npm could not install it: {done.stderr[-500:]}")
    return folder / "node_modules" / ".bin"


def ask(
    name: str, question: str, *, url: str, programs: Path, home: Path, extra: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Start it as a user does; `home` is its home and its working folder."""
    line = (sys.executable, "-m", "ai_assistant", "launch", "--url", url, name,
            *extra, *AGENTS[name].ask, question)  # fmt: skip
    environment = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",  # noqa: TID251
        "HOME": str(home),
        "AI_ASSISTANT_CONFIG": str(home / "config.toml"),
    }
    (home / "config.toml").touch()
    (home / ".codex").mkdir(exist_ok=True)
    return subprocess.run(
        line, cwd=home, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
