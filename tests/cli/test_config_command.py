"""`config show` and `config new-key`."""

import json
import os
import stat
from pathlib import Path

import pytest
from tests.cli.conftest import Invoke

from ai_assistant.config import loading
from ai_assistant.gateway.keys import read_key
from ai_assistant.protocol.requests import Priority


def test_every_setting_and_its_origin(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "own.toml"
    file.write_text("[engine]\nslots = 5\n")
    monkeypatch.setenv("AI_ASSISTANT_API_KEY", "sesame")
    output = invoke("config", "show", "--config", str(file)).output
    assert "sesame" not in output
    assert "***" in output
    shown = json.loads(invoke("config", "show", "--json", "--config", str(file)).output)
    assert shown["settings"]["engine.slots"] == {"value": 5, "origin": f"file {file}"}
    assert shown["settings"]["server.api_keys"]["value"] == ["***"]


def test_wrong_settings_are_wrong_use(invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text("[engine]\nslot = 5\n")
    result = invoke("config", "show", "--config", str(file))
    assert result.exit_code == 2
    assert "Did you mean engine.slots?" in result.stderr


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_new_key_is_its_owners_alone(invoke: Invoke, home: Path) -> None:
    result = invoke("config", "new-key")
    path = home / "config/ai-assistant/api-keys"
    key = path.read_text().strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key.startswith("aia-")
    assert len(key) > 40
    assert key not in result.output
    assert f"--api-key-file {path}" in result.output


def test_a_second_key_is_added(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("old-one")
    shown = json.loads(invoke("config", "new-key", "--api-key-file", str(path), "--json").output)
    assert shown == {"file": str(path)}
    lines = path.read_text().splitlines()
    assert lines[0] == "old-one"
    assert len(lines) == 2


def test_a_key_with_a_name_a_class_and_a_weight(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    flags = ["--name", "nightly", "--class", "batch", "--weight", "0.5"]
    output = invoke("config", "new-key", *flags, "--api-key-file", str(path)).output
    key, *options = path.read_text().split()
    assert options == ["name=nightly", "class=batch", "weight=0.5"]
    assert key not in output
    loaded = loading.load({"server.api_key_file": str(path)}, environ={})
    caller = read_key(loaded.settings.server.api_keys[0])
    assert (caller.tenant, caller.ceiling, caller.weight) == ("nightly", Priority.BATCH, 0.5)


@pytest.mark.parametrize(
    "flags", [["--name", "two words"], ["--class", "urgent"], ["--weight", "0"], ["--name", ""]]
)
def test_a_wrong_option_makes_no_key(invoke: Invoke, tmp_path: Path, flags: list[str]) -> None:
    path = tmp_path / "keys"
    assert invoke("config", "new-key", *flags, "--api-key-file", str(path)).exit_code == 2
    assert not path.exists()


def test_a_place_that_cannot_be_written_is_told(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("config", "new-key", "--api-key-file", str(tmp_path / "folder"))
    assert result.exit_code == 0
    blocked = tmp_path / "folder" / "below"
    result = invoke("config", "new-key", "--api-key-file", str(blocked))
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr
