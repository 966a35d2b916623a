"""llama-server as the cloud: killed while it speaks, our node goes on; and the other way round."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fakes.fault_proxy import Fault, FaultProxy
from tests.system.running_node import RunningNode, ready_node

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / ".bench" / "llama-server" / "bin" / "llama-server"
STARTER = ROOT / "src" / "ai_assistant" / "store" / "starter" / "starter.gguf"
STORY = [{"role": "user", "content": "Tell me a story about a boat."}]
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 300}
EXACT = {"top_k": 1, "repetition_penalty": 1.0}

pytestmark = pytest.mark.skipif(
    not BINARY.exists(), reason="`python -m benchmarks.llama_server` builds it"
)


class LlamaServer:
    """One process on the starter model."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        with (folder / "llama-server.log").open("wb") as output:
            self.process = subprocess.Popen(
                [str(BINARY), "--model", str(STARTER), "--port", str(port), "--host", "127.0.0.1",
                 "--ctx-size", "4096", "--parallel", "2", "--threads", "1", "--offline",
                 "--no-webui"],
                stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            self._await_health(folder / "llama-server.log")
        except BaseException:
            self.kill()
            raise

    def _await_health(self, log: Path) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(self.url + "/health").status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(log.read_text()[-2000:])

    def kill(self) -> None:
        """As the kernel's out-of-memory killer would."""
        self.process.kill()
        self.process.wait()


@dataclass
class Recorded:
    """What the one that goes on was asked."""

    bodies: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def route(self, request: bytes) -> tuple[Fault, bytes]:
        """Hand it on."""
        if request.startswith(b"POST"):  # and not a look at how it is doing
            self.bodies.append(json.loads(request.partition(b"\r\n\r\n")[2]))
        return Fault(), request

    @property
    def begun(self) -> str:
        """The beginning that it was given."""
        last = self.bodies[-1]["messages"][-1]
        assert last["role"] == "assistant"
        return last["content"]


@pytest.fixture
def llama(tmp_path: Path) -> Iterator[LlamaServer]:
    server = LlamaServer(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[RunningNode]:
    (tmp_path / "desk").mkdir()
    with ready_node(tmp_path / "desk", AI_ASSISTANT_ENGINE_SPECULATION="false") as node:
        yield node
        node.process.kill()


@contextlib.contextmanager
def front(folder: Path, *others: tuple[str, str]) -> Generator[RunningNode]:
    """A node whose model `far` is at these servers, kind and address each."""
    folder.mkdir()
    (folder / "providers.toml").write_text(
        "".join(
            f'[p{n}]\nkind = "{kind}"\nbase_url = "{url}/v1"\n'
            f"[p{n}.deadlines]\nfirst_token = 30\nbetween_tokens = 10\n"
            f'[[p{n}.models]]\nid = "starter"\nnames = ["far"]\n'
            for n, (kind, url) in enumerate(others)
        )
    )
    with ready_node(folder) as node:
        yield node


def streamed(node: RunningNode, model: str, kill: int | None = None) -> tuple[str, int, str]:
    """Text, tokens and the reason of the end; `kill` is killed after some words."""
    text, tokens, finish = "", 0, ""
    with node.openai.chat.completions.create(
        model=model, messages=STORY, stream=True, stream_options={"include_usage": True},  # type: ignore[arg-type]
        extra_body=EXACT, **GREEDY,
    ) as stream:  # fmt: skip
        for chunk in stream:
            tokens = chunk.usage.completion_tokens if chunk.usage else tokens
            for choice in chunk.choices:
                text += choice.delta.content or ""
                finish = choice.finish_reason or finish
            if kill and len(text) > 60:
                os.kill(kill, signal.SIGKILL)
                kill = None
    return text, tokens, finish


def continued(url: str, begun: str, **more: Any) -> str:
    """What a server says from there on."""
    messages = [*STORY, {"role": "assistant", "content": begun}]
    body = {"model": "starter", "messages": messages, **GREEDY, **EXACT, **more}
    answer = httpx.post(url + "/v1/chat/completions", json=body, timeout=60).raise_for_status()
    return answer.json()["choices"][0]["message"]["content"]


def test_our_node_goes_on_where_llama_server_was_killed(
    llama: LlamaServer, desk: RunningNode, tmp_path: Path
) -> None:
    recorded = Recorded()
    with (
        FaultProxy(desk.url, route=recorded.route).in_thread() as proxy,
        front(tmp_path / "front", ("llama-server", llama.url), ("ai-assistant", proxy.url)) as node,
    ):
        text, tokens, finish = streamed(node, "far", llama.process.pid)
    begun = recorded.begun
    assert finish in ("stop", "length")
    assert 10 < tokens <= 300
    assert len(begun) > 60
    assert text.startswith(begun)
    template = {"chat_template_kwargs": {"continue_final_message": True}}
    rest = continued(desk.url, begun, **template)
    assert rest.startswith(text[len(begun) :])
    assert text[len(begun) :]


def test_llama_server_goes_on_where_our_node_was_killed(
    llama: LlamaServer, desk: RunningNode, tmp_path: Path
) -> None:
    honest, _, _ = streamed(desk, "starter")
    recorded = Recorded()
    with (
        FaultProxy(llama.url, route=recorded.route).in_thread() as proxy,
        front(tmp_path / "front", ("ai-assistant", desk.url), ("llama-server", proxy.url)) as node,
    ):
        text, tokens, finish = streamed(node, "far", desk.process.pid)
    begun = recorded.begun
    assert honest.startswith(begun)
    assert text.startswith(begun)
    assert text[len(begun) :]
    told = {"continue_final_message": True, "add_generation_prompt": False}
    rest = continued(llama.url, begun, repeat_penalty=1.0, **told)
    rest = rest.removeprefix(begun)  # it repeats the beginning where it does not stream
    assert rest.startswith(text[len(begun) :]) or text[len(begun) :].startswith(rest)
    assert text.count(begun[:40]) == 1
    assert finish in ("stop", "length")
    assert tokens <= 300
