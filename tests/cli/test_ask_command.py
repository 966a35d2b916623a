"""`ask`: made for pipes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import Invoke, Served
from tests.fakes.fake_node import FakeNode
from tests.fakes.fake_service import FakeService, say

from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.protocol.requests import ChatPrompt, Priority

Serve = Callable[..., Served]


def asked(node: Served) -> list[tuple[str, str | None]]:
    prompt = node.service.asked[-1].prompt
    assert isinstance(prompt, ChatPrompt)
    return [(message.role, message.content) for message in prompt.messages]


def test_the_answer_goes_to_standard_output(invoke: Invoke, serve: Serve) -> None:
    node = serve()
    result = invoke("ask", "Who", "are you?", "--url", node.url)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Hello\n", "")
    assert asked(node) == [("user", "Who are you?")]


def test_piped_text_stands_below_the_question(invoke: Invoke, serve: Serve) -> None:
    node = serve()
    invoke("ask", "Sum up", "--url", node.url, stdin="line 1\nline 2\n")
    assert asked(node) == [("user", "Sum up\n\nline 1\nline 2\n")]


def test_piped_bytes_that_are_no_text_are_replaced(invoke: Invoke, serve: Serve) -> None:
    node = serve()
    result = invoke("ask", "What?", "--url", node.url, stdin=b"a\xffb")
    assert result.exit_code == 0
    assert asked(node) == [("user", "What?\n\na\ufffdb")]


@pytest.mark.parametrize("arguments", [["-"], []])
def test_piped_text_alone(invoke: Invoke, serve: Serve, arguments: list[str]) -> None:
    node = serve()
    invoke("ask", *arguments, "--url", node.url, stdin="all of it")
    assert asked(node) == [("user", "all of it")]


def test_no_question_is_wrong_use(invoke: Invoke) -> None:
    result = invoke("ask", stdin="")
    assert result.exit_code == 2
    assert "There is no question." in result.stderr


def test_options_reach_the_model(invoke: Invoke, serve: Serve, tmp_path: Path) -> None:
    node = serve()
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object"}')
    flags = ["--model", "org/big", "--system", "Be brief.", "--max-tokens", "7"]
    flags += ["--temperature", "0.5", "--schema", str(schema), "--url", node.url]
    result = invoke("ask", "x", *flags)
    assert result.exit_code == 0, result.output
    request = node.service.asked[0]
    assert asked(node)[0] == ("system", "Be brief.")
    assert (request.model, request.max_tokens) == ("org/big", 7)
    assert request.priority is Priority.INTERACTIVE
    assert request.sampling.temperature == 0.5
    assert request.format.schema == {"type": "object"}


def test_one_json_object(invoke: Invoke, serve: Serve) -> None:
    node = serve(FakeService(script=say("Zwölf", " Boxer", cached=3)))
    result = invoke("ask", "x", "--json", "--url", node.url)
    shown = json.loads(result.stdout)
    assert shown["text"] == "Zwölf Boxer"
    assert shown["model"] == "starter"
    assert shown["finish_reason"] == "stop"
    assert shown["usage"]["cached_tokens"] == 3
    assert shown["timings"]["first_token_ms"] > 0
    assert shown["timings"]["engine"]["cache_n"] == 3
    assert result.stdout.count("\n") == 1


def test_a_cut_answer_is_remarked(invoke: Invoke, serve: Serve) -> None:
    script = say("Hel")
    script[-1] = TokenChunk(finish="length", usage=getattr(script[-1], "usage", None))
    node = serve(FakeService(script=script))
    result = invoke("ask", "x", "--url", node.url)
    assert result.stdout == "Hel\n"
    assert "token limit" in result.stderr


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_schema_that_is_none_is_wrong_use(invoke: Invoke, tmp_path: Path, text: str) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text(text)
    result = invoke("ask", "x", "--schema", str(schema))
    assert result.exit_code == 2
    assert str(schema) in result.stderr


def test_an_unknown_model_fails_with_a_hint(invoke: Invoke, serve: Serve) -> None:
    result = invoke("ask", "x", "--model", "none", "--url", serve().url)
    assert result.exit_code == 1
    assert "ai-assistant models" in result.stderr
    assert result.stdout == ""


def test_an_address_without_a_node(invoke: Invoke, free_port: int) -> None:
    result = invoke("ask", "x", "--url", f"127.0.0.1:{free_port}")
    assert result.exit_code == 3
    assert "No node answers" in result.stderr


def test_a_node_is_started_where_none_runs(
    invoke: Invoke,
    serve: Serve,
    fake_node: FakeNode,
    free_port: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AI_ASSISTANT_SERVER_PORT", str(free_port))
    fake_node.url = serve().url
    result = invoke("ask", "x")
    assert result.stdout == "Hello\n"
    assert "No node is running" in result.stderr
    assert fake_node.stopped == 1


def test_keys_of_the_settings_file_stay_with_this_node(
    invoke: Invoke, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "own.toml"
    file.write_text("[server]\napi_keys = ['right']\n")
    node = serve(api_keys=("right",))
    result = invoke("ask", "x", "--url", node.url, "--config", str(file))
    assert result.exit_code == 1
    assert "AI_ASSISTANT_API_KEY" in result.stderr
    for line in ("right", "right name=alice class=batch"):
        monkeypatch.setenv("AI_ASSISTANT_API_KEY", line)
        assert invoke("ask", "x", "--url", node.url, "--config", str(file)).exit_code == 0


def test_a_closed_pipe_is_quiet(serve: Serve) -> None:
    node = serve(FakeService(script=say(*["word "] * 5000)))
    command = [sys.executable, "-m", "ai_assistant.cli.main", "ask", "x", "--url", node.url]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1
