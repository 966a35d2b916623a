"""`cache`: figures, deletions and pins of a folder that a store has written."""

import json
import os
import stat
import time
from pathlib import Path

import pytest
from tests.cli.conftest import Invoke
from tests.kvcache.cold_blocks import Block, files, opened, put_all

from ai_assistant.kvcache.cold import quarantine
from ai_assistant.store.pins import read_pins


@pytest.fixture
def folder(home: Path) -> Path:
    """Two blocks of one model and one, pinned, of another."""
    folder = home / "data/ai-assistant/cache"
    about = {"model": "Small", "path": "/models/small-q4.gguf", "kv_type": "f16"}
    with opened(folder, about=about) as store:
        put_all(store, Block(1), Block(2))
    with opened(folder, fingerprint=b"other", about={"path": "/models/big.gguf"}) as store:
        assert Block(3).put(store, pinned=True)
    return folder


def test_what_is_kept_is_told_against_the_limits(invoke: Invoke, folder: Path) -> None:
    told = json.loads(invoke("cache", "stat", "--json").output)
    assert told["folder"] == str(folder)
    assert told["blocks"] == 3
    assert told["bytes"] == sum(path.stat().st_size for path in files(folder))
    assert told["written_today"] == told["bytes"]
    assert told["cap_bytes"] > 0
    assert told["daily_cap_bytes"] == 64 << 30
    assert told["quarantined"] == 0
    output = invoke("cache", "stat").output
    assert "3 of 2 models" in output
    assert "of 68.7 GB" in output


def test_the_cap_can_be_set(invoke: Invoke, tmp_path: Path) -> None:
    settings = tmp_path / "own.toml"
    settings.write_text(f"[cache]\ndisk_gb = 2\ndir = '{tmp_path}/elsewhere'\ndisk = false\n")
    output = invoke("cache", "stat", "--config", str(settings)).output
    assert f"{tmp_path}/elsewhere (turned off)" in output
    assert "0 B of 2.1 GB\n" in output


def test_each_model_has_a_line(invoke: Invoke, folder: Path) -> None:
    big, small = json.loads(invoke("cache", "ls", "--json").output)
    assert small["about"]["model"] == "Small"
    assert (small["blocks"], small["tokens"], small["pinned"]) == (2, 6, 0)
    assert (big["blocks"], big["pinned"]) == (1, 1)
    output = invoke("cache", "ls").output
    assert "Small" in output
    assert "big" in output


def test_an_empty_place_is_no_error(invoke: Invoke) -> None:
    assert "Nothing is kept" in invoke("cache", "ls").output
    assert invoke("cache", "stat").exit_code == 0
    assert "0 files" in invoke("cache", "purge", "--yes").output
    assert "There is no pin" in invoke("cache", "pins").output


def test_purge_asks_first(invoke: Invoke, folder: Path) -> None:
    result = invoke("cache", "purge", stdin="n\n")
    assert result.exit_code == 1
    assert len(files(folder)) == 3
    assert "3 files" in invoke("cache", "purge", stdin="y\n").output
    assert files(folder) == []


@pytest.mark.parametrize("name", ["Small", "small-q4", "small-q4.gguf", "0101010101"])
def test_one_model_can_be_purged(invoke: Invoke, folder: Path, name: str) -> None:
    done = invoke("cache", "purge", "--model", name, "--yes", "--json")
    assert json.loads(done.output)["files"] == 2
    assert len(files(folder)) == 1


def test_an_unknown_model_is_told(invoke: Invoke, folder: Path) -> None:
    result = invoke("cache", "purge", "--model", "none", "--yes")
    assert result.exit_code == 1
    assert "cache ls" in result.stderr


def test_only_old_and_unpinned_blocks_are_purged_by_age(invoke: Invoke, folder: Path) -> None:
    old = time.time() - 40 * 86_400
    young, *others = files(folder)
    for path in others:
        os.utime(path, (old, old))
    assert json.loads(invoke("cache", "purge", "--older-than", "30", "--yes", "--json").output)[
        "files"
    ] == sum(not path.name.endswith(".pinned") for path in others)
    assert young.exists()


def test_the_quarantine_is_purged_alone(invoke: Invoke, folder: Path) -> None:
    quarantine.set_aside(folder, files(folder)[0])
    assert "1 files" in invoke("cache", "stat").output
    assert invoke("cache", "purge", "--quarantine", "--model", "x").exit_code == 2
    assert invoke("cache", "purge", "--quarantine", "--yes").exit_code == 0
    assert quarantine.contents(folder) == []
    assert len(files(folder)) == 2


def test_prompts_are_pinned_and_unpinned(invoke: Invoke, home: Path) -> None:
    prompt = home / "prompt.txt"
    prompt.write_text("You are\nkind.")
    folder = home / "data/ai-assistant/cache"
    assert "loaded next" in invoke("cache", "pin", "support", "--file", str(prompt)).output
    invoke("cache", "pin", "brief", "--system", "Answer in one sentence.")
    invoke("cache", "pin", "brief", "--system", "Answer in one word.")
    assert [(one.name, one.system) for one in read_pins(folder)] == [
        ("brief", "Answer in one word."),
        ("support", "You are\nkind."),
    ]
    assert json.loads(invoke("cache", "pins", "--json").output)[1]["name"] == "support"
    assert "You are kind." in invoke("cache", "pins").output
    assert "pinned prompts  2" in invoke("cache", "stat").output
    assert "loaded next" in invoke("cache", "unpin", "support").output
    assert [one.name for one in read_pins(folder)] == ["brief"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["pin", "Bad_Name", "--system", "x"], 1, "a to z"),
        (["pin", "good"], 2, "either --system or --file"),
        (["pin", "good", "--system", " "], 2, "empty"),
        (["pin", "good", "--file", "/nowhere"], 2, "does not exist"),
        (["unpin", "good"], 1, "There is no pin"),
    ],
)
def test_a_wrong_pin_is_told(invoke: Invoke, arguments: list[str], code: int, words: str) -> None:
    result = invoke("cache", *arguments)
    assert result.exit_code == code
    assert words in result.stderr


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_pins_are_their_owners_alone(invoke: Invoke, home: Path) -> None:
    invoke("cache", "pin", "brief", "--system", "x")
    folder = home / "data/ai-assistant/cache"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [path.name for path in folder.iterdir()] == ["pins.json"]
    assert stat.S_IMODE((folder / "pins.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"{}", b'[{"name": 1}]', b"\xff\xfe"])
def test_damaged_pins_are_told_and_kept(invoke: Invoke, home: Path, content: bytes) -> None:
    path = home / "data/ai-assistant/cache/pins.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    result = invoke("cache", "pin", "brief", "--system", "x")
    assert result.exit_code == 1
    assert "damaged" in result.stderr
    assert path.read_bytes() == content
