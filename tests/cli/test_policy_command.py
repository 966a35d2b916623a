"""`policy`: a file to begin with, and what the rules say of a text."""

import json
import os
import stat
from pathlib import Path

import pytest
from tests.cli.conftest import Invoke


def rules(home: Path) -> Path:
    return home / "config/ai-assistant/policy.toml"


def test_init_writes_once_and_privately(invoke: Invoke, home: Path) -> None:
    done = invoke("policy", "init")
    assert done.exit_code == 0, done.output
    assert "Nothing leaves" in done.output
    if os.name == "posix":
        assert stat.S_IMODE(rules(home).stat().st_mode) == 0o600
    rules(home).write_text("# mine\n")
    again = invoke("policy", "init")
    assert again.exit_code == 1
    assert "exists already" in again.stderr
    assert rules(home).read_text() == "# mine\n"


def test_without_a_file_everything_stays(invoke: Invoke) -> None:
    told = json.loads(invoke("policy", "check", "hello", "--to", "openai@us", "--json").output)
    assert told["labels"] == []
    (decision,) = told["decisions"]
    assert (decision["destination"], decision["action"]) == ("openai@us", "refuse")
    assert "no file" in invoke("policy", "check", "hello").output


def test_check_shows_where_and_what_would_go(invoke: Invoke, home: Path) -> None:
    invoke("policy", "init")
    text = rules(home).read_text().replace('allow = ["machine"]', 'allow = ["openai@us"]')
    rules(home).write_text(text)
    letter = home / "letter.txt"
    letter.write_text("Dear all,\nwrite to alice@example.com soon.")
    output = invoke("policy", "check", str(letter), "--to", "openai@us", "--to", "cloud").output
    assert "2:10" in output
    assert "write to [EMAIL_1] soon." in output
    assert "alice" not in output
    told = json.loads(invoke("policy", "check", str(letter), "--json").output)
    piped = json.loads(invoke("policy", "check", "-", "--json", stdin=letter.read_text()).output)
    assert piped["decisions"] == told["decisions"]
    by_place = {one["destination"]: one["action"] for one in told["decisions"]}
    assert by_place == {
        "machine": "allow", "lan": "refuse", "cloud": "refuse", "openai@us": "redact"}  # fmt: skip


def test_who_asks_counts(invoke: Invoke, home: Path) -> None:
    rules(home).parent.mkdir(parents=True)
    rules(home).write_text("[unlabelled]\nallow = ['lan']\n[labels.finance]\nkeys = ['fin-*']\n")
    plain = json.loads(invoke("policy", "check", "hi", "--to", "lan", "--json").output)
    assert plain["decisions"][0]["action"] == "allow"
    asked = invoke("policy", "check", "hi", "--to", "lan", "--key", "fin-1", "--json")
    assert json.loads(asked.output)["labels"] == ["finance"]
    assert "Other labels: finance" in invoke("policy", "check", "hi", "--key", "fin-1").output


@pytest.mark.parametrize("text", ["[labels.email\n", "[labels.email]\nalow = ['lan']\n"])
def test_a_mistake_is_told_with_its_line(invoke: Invoke, home: Path, text: str) -> None:
    rules(home).parent.mkdir(parents=True)
    rules(home).write_text(f"version = 1\n{text}")
    result = invoke("policy", "check", "hi")
    assert result.exit_code == 2
    assert "policy.toml, line " in result.stderr
    assert "nothing leaves" in result.stderr
