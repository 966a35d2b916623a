"""`serve`: flags become settings, and unsafe or impossible ones are refused."""

import socket
from pathlib import Path

import pytest
from tests.cli.conftest import Invoke
from tests.fakes.fake_node import FakeNode

from ai_assistant.protocol.errors import ModelLoadFailed


def test_flags_become_settings(
    invoke: Invoke, fake_node: FakeNode, free_port: int, tmp_path: Path
) -> None:
    port = str(free_port)
    flags = ["--model", str(tmp_path / "a.gguf"), "--model", str(tmp_path / "b.gguf")]
    flags += ["--port", port, "--context", "4096", "--slots", "3", "--threads", "2"]
    result = invoke("serve", *flags, "--gpu-layers", "0", "--data-dir", str(tmp_path))
    assert result.exit_code == 0, result.output
    settings = fake_node.ran[0]
    assert settings.store.models == (str(tmp_path / "a.gguf"), str(tmp_path / "b.gguf"))
    assert settings.server.port == free_port
    engine = settings.engine
    assert (engine.context, engine.slots, engine.threads, engine.gpu_layers) == (4096, 3, 2, 0)
    assert settings.store.data_dir == str(tmp_path)


def test_what_to_do_next_is_printed(invoke: Invoke, fake_node: FakeNode, free_port: int) -> None:
    output = invoke("serve", "--port", str(free_port)).output
    assert "http://127.0.0.1:7717/\n" in output
    assert "curl http://127.0.0.1:7717/v1/chat/completions -H" in output
    assert "ai-assistant chat\n" in output
    assert "\x1b" not in output


def test_another_address_stands_in_every_line(
    invoke: Invoke, fake_node: FakeNode, free_port: int
) -> None:
    fake_node.url = "http://127.0.0.1:9000"
    output = invoke("serve", "--port", str(free_port)).output
    assert "ai-assistant chat --url http://127.0.0.1:9000" in output


def test_the_exit_code_is_the_nodes(invoke: Invoke, fake_node: FakeNode, free_port: int) -> None:
    fake_node.exit_code = 7
    assert invoke("serve", "--port", str(free_port)).exit_code == 7


def test_nothing_is_served_to_others_without_a_key(invoke: Invoke, fake_node: FakeNode) -> None:
    result = invoke("serve", "--host", "0.0.0.0")
    assert result.exit_code == 2
    assert "no API key is set" in result.stderr
    assert "ai-assistant config new-key" in result.stderr
    assert fake_node.ran == []


def test_a_key_opens_the_node_to_others(
    invoke: Invoke, fake_node: FakeNode, free_port: int, tmp_path: Path
) -> None:
    keys = str(tmp_path / "keys")
    assert invoke("config", "new-key", "--api-key-file", keys).exit_code == 0
    flags = ["--host", "0.0.0.0", "--port", str(free_port), "--api-key-file", keys]
    result = invoke("serve", *flags)
    assert result.exit_code == 0, result.output
    assert fake_node.ran[0].server.api_keys[0].startswith("aia-")
    assert 'Bearer $AI_ASSISTANT_API_KEY"' in result.output
    assert fake_node.ran[0].server.api_keys[0] not in result.output


def test_a_taken_port_is_told_before_the_start(invoke: Invoke, fake_node: FakeNode) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = invoke("serve", "--port", str(port))
    assert result.exit_code == 1
    assert f"Port {port} is taken." in result.stderr
    assert fake_node.ran == []


def test_an_address_of_another_machine_is_refused(invoke: Invoke, fake_node: FakeNode) -> None:
    result = invoke("serve", "--host", "127.0.0.1.9")
    assert result.exit_code == 2
    assert fake_node.ran == []


def test_a_model_that_will_not_load_is_told_in_its_own_words(
    invoke: Invoke, fake_node: FakeNode, free_port: int
) -> None:
    fake_node.error = ModelLoadFailed("a.gguf is not a GGUF file; download it again.")
    result = invoke("serve", "--port", str(free_port))
    assert result.exit_code == 1
    assert "download it again" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("flag", [["--port", "x"], ["--port", "70000"], ["--slots", "-2"]])
def test_wrong_flags_are_wrong_use(invoke: Invoke, fake_node: FakeNode, flag: list[str]) -> None:
    result = invoke("serve", *flag)
    assert result.exit_code == 2
    assert flag[0].removeprefix("--") in result.stderr
