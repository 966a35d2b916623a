"""`ai-assistant keys`."""

import json
import time
from pathlib import Path

import pytest
from tests.cli.conftest import Invoke

from ai_assistant.config import loading, places
from ai_assistant.store.key_usage import Changes, KeyUsage, Used
from ai_assistant.store.keys import digest_of
from ai_assistant.store.keys_file import read_keys


def made(invoke: Invoke, *words: str) -> str:
    result = invoke("keys", "add", *words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)["key"]


def keys_file() -> Path:
    return places.keys_file(places.default_file())


def test_a_key_is_shown_once_and_its_hash_is_kept(invoke: Invoke) -> None:
    text = made(invoke, "ann", "--team", "lab", "--models", "a,b*", "--expires", "30d",
                "--requests-per-minute", "60", "--dollars-per-day", "2.5")  # fmt: skip
    (key,) = read_keys(keys_file()).keys
    assert key.secrets[0].sha256 == digest_of(text.encode())
    assert text not in keys_file().read_text()
    assert (key.team, key.models, key.limits.dollars_per_day) == ("lab", ("a", "b*"), 2.5)
    assert key.expires == pytest.approx(time.time() + 30 * 86_400, abs=60)
    for words in (("ls",), ("ls", "--json"), ("show", "ann"), ("show", "ann", "--json")):
        output = invoke("keys", *words).output
        assert "ann" in output
        assert text not in output
        assert key.secrets[0].sha256 not in output


def test_the_first_key_says_what_it_means(invoke: Invoke) -> None:
    assert "demands a key of everyone" in invoke("keys", "add", "ann").output
    assert "demands a key of everyone" not in invoke("keys", "add", "bob").output
    twice = invoke("keys", "add", "ann")
    assert twice.exit_code == 1
    assert "keys rotate ann" in twice.output


def test_values_are_changed_and_taken_away(invoke: Invoke) -> None:
    made(invoke, "ann", "--concurrency", "4", "--labels", "customer-data", "--regions", "eu")
    invoke("keys", "set", "ann", "--concurrency", "none", "--labels", "none", "--class", "batch")
    (key,) = read_keys(keys_file()).keys
    assert (key.limits.concurrency, key.labels, key.regions) == (None, (), ("eu",))
    assert key.priority == "batch"
    invoke("keys", "set", "ann", "--off")
    assert "off" in invoke("keys", "show", "ann").output


def test_users_and_teams_have_limits(invoke: Invoke) -> None:
    assert invoke("keys", "set", "team:lab", "--tokens-per-minute", "1e5").exit_code == 0
    assert "100000 tokens/min" in invoke("keys", "ls").output
    wrong = invoke("keys", "set", "team:lab", "--models", "a")
    assert wrong.exit_code == 2
    assert "limits only" in wrong.output
    invoke("keys", "rm", "team:lab")
    assert read_keys(keys_file()).groups == ()


def test_a_new_secret_takes_the_place_of_the_old_one(invoke: Invoke) -> None:
    first = made(invoke, "ann")
    second = json.loads(invoke("keys", "rotate", "ann", "--keep-old", "1h", "--json").output)["key"]
    (key,) = read_keys(keys_file()).keys
    hashes = [digest_of(text.encode()) for text in (second, first)]
    assert [one.sha256 for one in key.secrets] == hashes
    assert key.secrets[1].until == pytest.approx(time.time() + 3600, abs=60)
    invoke("keys", "rotate", "ann")
    assert len(read_keys(keys_file()).keys[0].secrets) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "../x"), "letters, digits"),
        (("add", "a", "--requests-per-minute", "0"), "--requests-per-minute is a number above 0"),
        (("add", "a", "--class", "royal"), "interactive, normal, batch"),
        (("add", "a", "--expires", "soon"), "2026-12-31"),
        (("set", "a"), "Nothing is to be changed"),
        (("set", "nobody", "--concurrency", "1"), "There is no key 'nobody'"),
        (("rm", "nobody"), "There is no key 'nobody'"),
        (("rotate", "nobody"), "There is no key 'nobody'"),
        (("show", "nobody"), "There is no key 'nobody'"),
        (("rotate", "a", "--keep-old", "long"), "12h, 7d or 2w"),
    ],
)
def test_what_is_wrong_is_said(invoke: Invoke, words: tuple[str, ...], said: str) -> None:
    result = invoke("keys", *words)
    assert result.exit_code in (1, 2)
    assert said in result.output
    assert not read_keys(keys_file()).keys


def test_what_was_used_is_shown(invoke: Invoke, home: Path) -> None:
    made(invoke, "ann")
    settings = loading.load().settings
    file = KeyUsage(places.key_usage_file(settings), "node")
    day = time.strftime("%Y-%m-%d")
    used = Used(account="key:ann", day=day, requests=3, prompt_tokens=40, dollars=0.25)
    file.write(Changes(used=(used,)))
    file.close()
    assert "3 requests, 40 tokens, $0.2500" in invoke("keys", "show", "ann").output
    data = json.loads(invoke("keys", "ls", "--json").output)
    assert data["keys"][0]["used"]["today"]["dollars"] == 0.25


def test_a_key_with_the_name_of_a_line_must_be_counted_alike(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AI_ASSISTANT_API_KEY", "sesame name=ann dollars-per-day=1")
    refused = invoke("keys", "add", "ann", "--dollars-per-day", "100")
    assert refused.exit_code == 1
    assert "differ in dollars-per-day" in refused.output
    assert "sesame" not in refused.output
    made(invoke, "ann", "--dollars-per-day", "1")
    assert invoke("keys", "set", "ann", "--team", "lab").exit_code == 1
    assert invoke("keys", "set", "ann", "--off").exit_code == 0
