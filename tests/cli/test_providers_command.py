"""`ai-assistant providers`, before a real gateway."""

import json
from collections.abc import Callable
from pathlib import Path

import keyring
import pytest
from keyring.backends.fail import Keyring as NoKeyring
from tests.cli.conftest import Invoke, Served

KEY = "sk-very-secret-0123456789"
Serve = Callable[..., Served]


def add(invoke: Invoke, url: str, *options: str) -> None:
    result = invoke(
        "providers", "add", "desk", "--kind", "ai-assistant", "--base-url", f"{url}/v1",
        "-m", "starter=quick", *options,
    )  # fmt: skip
    assert result.exit_code == 0, result.output


def test_a_provider_is_added_listed_measured_and_removed(invoke: Invoke, serve: Serve) -> None:
    served = serve()
    add(invoke, served.url, "--no-key", "--region", "here")
    result = invoke("providers", "test", "--json")
    assert result.exit_code == 0, result.output
    (probe,) = json.loads(result.output)
    assert (probe["provider"], probe["model"], probe["error"]) == ("desk", "starter", None)
    assert probe["ttft_seconds"] > 0
    assert probe["dollars"] == 0
    assert [request.model for request in served.service.asked] == ["starter", "starter"]
    assert "quick" in invoke("providers", "ls").output
    (entry,) = json.loads(invoke("providers", "ls", "--json").output)
    assert entry["facts"]["requests"] == 2  # what was measured is kept
    assert entry["facts"]["ttft"]["p50"] > 0
    assert (entry["place"], entry["region"], entry["key"]) == ("machine", "here", "none")
    assert invoke("providers", "rm", "desk").exit_code == 0
    assert "There is no provider" in invoke("providers", "ls").output
    assert invoke("providers", "rm", "desk").exit_code == 1


def test_nothing_leaves_the_machine_without_a_rule(invoke: Invoke, serve: Serve) -> None:
    served = serve()
    add(invoke, served.url, "--no-key", "--place", "lan")
    result = invoke("providers", "test")
    assert result.exit_code == 1
    assert "may not go" in result.output
    assert served.service.asked == []


def test_what_was_sent_is_in_the_egress_log(invoke: Invoke, serve: Serve) -> None:
    served = serve()
    add(invoke, served.url, "--no-key")
    invoke("providers", "test")
    listed = invoke("audit", "ls", "--json")
    assert listed.exit_code == 0, listed.output
    assert listed.output.count('"desk"') >= 2
    assert invoke("audit", "verify").exit_code == 0


@pytest.mark.parametrize("where", ["--key-env", "--key-file"])
def test_the_key_reaches_the_server_and_nobody_else(
    invoke: Invoke, serve: Serve, home: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    served = serve(api_keys=(KEY,))
    file = home / "key"
    file.write_text(KEY)
    file.chmod(0o600)
    monkeypatch.setenv("MY_KEY", KEY)
    add(invoke, served.url, where, "MY_KEY" if where == "--key-env" else str(file))
    result = invoke("providers", "test")
    assert result.exit_code == 0, result.output
    shown = result.output + invoke("providers", "ls").output + invoke("audit", "ls").output
    assert KEY not in shown
    for path in home.rglob("*"):
        if path.is_file() and path != file:
            assert KEY.encode() not in path.read_bytes(), path


def test_a_wrong_key_is_told_in_words(
    invoke: Invoke, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve(api_keys=("another",))
    monkeypatch.setenv("MY_KEY", KEY)
    add(invoke, served.url, "--key-env", "MY_KEY")
    result = invoke("providers", "test")
    assert result.exit_code == 1
    assert "does not accept the key" in result.output
    monkeypatch.delenv("MY_KEY")
    assert "MY_KEY is not set" in invoke("providers", "test").output
    assert "MISSING" in invoke("providers", "ls").output


def test_a_key_is_asked_for_where_there_is_no_option(invoke: Invoke) -> None:
    before = keyring.get_keyring()
    keyring.set_keyring(NoKeyring())
    try:
        result = invoke("providers", "add", "openai", "--model", "gpt-4o-mini", stdin=f"{KEY}\n")
    finally:
        keyring.set_keyring(before)
    assert result.exit_code == 1
    assert "--key-env" in result.output
    assert KEY not in result.output
    assert "There is no provider" in invoke("providers", "ls").output


def test_wrong_use_is_told(invoke: Invoke) -> None:
    assert invoke("providers", "add", "a", "--no-key", "--key-env", "X").exit_code == 2
    wrong = ("-m", "x", "--no-key", "--price", "1")
    assert invoke("providers", "add", "openai", *wrong).exit_code == 2
    result = invoke("providers", "add", "a", "--base-url", "http://example.com", "--no-key")
    assert result.exit_code == 1
    assert "https://" in result.output
    assert invoke("providers", "test", "nobody").exit_code == 1


def test_litellms_settings_are_taken_over(invoke: Invoke, home: Path) -> None:
    path = home / "config.yaml"
    path.write_text(
        "model_list:\n"
        "  - model_name: mini\n"
        "    litellm_params: {model: openai/gpt-4o-mini, api_key: os.environ/K, tpm: 5}\n"
    )
    result = invoke("providers", "import", "litellm", str(path), "--dry-run")
    assert "would be taken over" in result.output
    assert "There is no provider" in invoke("providers", "ls").output
    result = invoke("providers", "import", "litellm", str(path))
    assert result.exit_code == 0
    assert "Not taken over: model 1 (mini): litellm_params.tpm" in result.output
    (entry,) = json.loads(invoke("providers", "ls", "--json").output)
    assert (entry["names"], entry["key"]) == (["mini"], "MISSING")
