"""vLLM on the processor as a cloud of ours: what a client gets from it through our node."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from benchmarks import starter_hf, vllm_server
from benchmarks.servers import Server
from tests.fakes.fault_proxy import Fault, FaultProxy
from tests.system.clouds import (
    LONG,
    STORY,
    assert_probabilities_and_bare_text,
    assert_refused,
    assert_schema_is_kept,
)
from tests.system.running_node import RunningNode

KEY = "sk-only-for-this-test"
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 120}
EXACT = {"top_k": 1, "repetition_penalty": 1.0}
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds two numbers.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"a": {"enum": [1, 2]}, "b": {"enum": [2, 3]}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(
        not vllm_server.installed(), reason="benchmarks/vllm_server.py says what it wants"
    ),
]


class Cloud:
    """One vLLM, started again by whoever needs it after it was killed."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._server: Server | None = None

    @property
    def server(self) -> Server:
        """It, running."""
        if self._server is None or not self._server.process.is_running():
            extra = ["--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--api-key", KEY]
            started = vllm_server.start(starter_hf.ensure(), extra=extra)
            self._server = self._stack.enter_context(started)
        return self._server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def running(self) -> float:
        """Requests that it computes just now."""
        text = httpx.get(self.url + "/metrics").text
        lines = [one for one in text.splitlines() if one.startswith("vllm:num_requests_running")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def stop(self) -> None:
        if self._server and self._server.process.is_running():
            self._stack.close()


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    found = Cloud()
    yield found
    found.stop()


def settings(name: str, url: str, kind: str, model: str, key: str = "", id: str = "starter") -> str:
    return (
        f'[{name}]\nkind = "{kind}"\nbase_url = "{url}/v1"\nkey = "{key}"\n'
        f"[{name}.deadlines]\nfirst_token = 30\nbetween_tokens = 10\n"
        f'[[{name}.models]]\nid = "{id}"\nnames = ["{model}"]\n'
    )


def start(folder: Path, *providers: str) -> RunningNode:
    folder.mkdir()
    (folder / "providers.toml").write_text("".join(providers))
    node = RunningNode(
        folder, VLLM_KEY=KEY, WRONG_KEY="sk-wrong", AI_ASSISTANT_ENGINE_SPECULATION="false"
    )
    node.wait_ready()
    return node


@pytest.fixture(scope="module")
def front(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    node = start(
        tmp_path_factory.mktemp("vllm") / "front",
        settings("vllm", cloud.url, "vllm", "far", "env:VLLM_KEY"),
        settings("gone", cloud.url, "vllm", "absent", "env:VLLM_KEY", id="nope"),
        settings("shut", cloud.url, "vllm", "locked", "env:WRONG_KEY"),
        settings("plain", cloud.url, "openai-compatible", "plain", "env:VLLM_KEY"),
    )
    yield node
    node.stop()


def test_a_stream_its_figures_and_who_answered(front: RunningNode, cloud: Cloud) -> None:
    text, usage, finish, told = "", None, "", {}
    with front.openai.chat.completions.create(
        model="far", messages=STORY, stream=True, stream_options={"include_usage": True},
        extra_body=EXACT, **GREEDY,
    ) as stream:  # fmt: skip
        for chunk in stream:
            usage = chunk.usage or usage
            told = (chunk.model_extra or {}).get("ai_assistant") or told
            for choice in chunk.choices:
                text += choice.delta.content or ""
                finish = choice.finish_reason or finish
    direct = httpx.post(
        cloud.url + "/v1/chat/completions", headers={"Authorization": f"Bearer {KEY}"}, timeout=60,
        json={"model": "starter", "messages": STORY, **GREEDY, **EXACT},
    ).json()  # fmt: skip
    assert text == direct["choices"][0]["message"]["content"]
    assert finish == direct["choices"][0]["finish_reason"]
    assert usage is not None
    assert usage.completion_tokens == direct["usage"]["completion_tokens"]
    assert usage.prompt_tokens == direct["usage"]["prompt_tokens"]


def test_vllm_says_what_our_own_engine_says(front: RunningNode) -> None:
    """The same weights, but for rounding: the beginning of a greedy answer is the same."""
    told = [
        front.openai.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Who are you?"}],
            extra_body=EXACT, temperature=0, max_tokens=12,
        ).choices[0].message.content
        for model in ("far", "starter")
    ]  # fmt: skip
    assert "Ember" in (told[0] or "")
    assert told[0] == told[1]


def test_a_schema_is_kept(front: RunningNode) -> None:
    asked = [{"role": "user", "content": "A person as JSON."}]
    assert_schema_is_kept(front, asked, max_tokens=200)


def test_an_expression_is_kept(front: RunningNode) -> None:
    answer = front.openai.chat.completions.create(
        model="far", messages=STORY, max_tokens=20, extra_body={"guided_regex": "[ab]{4}c"}
    )
    said = answer.choices[0].message.content or ""
    assert len(said) == 5
    assert set(said[:4]) <= {"a", "b"}
    assert said[4] == "c"


@pytest.mark.parametrize("stream", [False, True])
def test_a_function_is_called(front: RunningNode, stream: bool) -> None:
    asked: dict[str, Any] = {
        "model": "far", "messages": [{"role": "user", "content": "Add 2 and 3."}], "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "add"}}, "max_tokens": 200,
        "temperature": 0,
    }  # fmt: skip
    name, arguments, finish = "", "", ""
    if stream:
        for chunk in front.openai.chat.completions.create(**asked, stream=True):
            for choice in chunk.choices:
                finish = choice.finish_reason or finish
                for call in choice.delta.tool_calls or ():
                    assert call.function
                    name += call.function.name or ""
                    arguments += call.function.arguments or ""
    else:
        choice = front.openai.chat.completions.create(**asked).choices[0]
        (call,) = choice.message.tool_calls or ()
        name, arguments, finish = call.function.name, call.function.arguments, choice.finish_reason
    assert (name, finish) == ("add", "tool_calls")
    assert set(json.loads(arguments)) == {"a", "b"}


def test_probabilities_and_bare_text(front: RunningNode) -> None:
    assert_probabilities_and_bare_text(front)


def test_a_client_that_leaves_stops_vllm(front: RunningNode, cloud: Cloud) -> None:
    stream = front.openai.chat.completions.create(
        model="far", messages=STORY, stream=True, max_tokens=1900,
        extra_body={"ignore_eos": True, **EXACT},
    )  # fmt: skip
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            break
    assert cloud.running() == 1
    left = time.monotonic()
    stream.close()
    while cloud.running():
        assert time.monotonic() - left < 3
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({"messages": LONG}, 400, "context_length_exceeded"),
        ({"model": "absent"}, 502, "provider_model_missing"),
        ({"model": "locked"}, 502, "provider_key_refused"),
        ({"max_tokens": 100_000}, 400, "context_length_exceeded"),
    ],
)  # fmt: skip
def test_what_vllm_refuses_has_a_name(
    front: RunningNode, asked: dict[str, Any], status: int, code: str
) -> None:
    assert_refused(front, asked, status, code)


def streamed(node: RunningNode, kill: Any = None) -> tuple[str, str]:
    """The text and how it ended; `kill` is called after some words."""
    text, finish = "", ""
    with node.openai.chat.completions.create(
        model="far", messages=STORY, stream=True, extra_body=EXACT, **GREEDY
    ) as stream:
        for chunk in stream:
            for choice in chunk.choices:
                text += choice.delta.content or ""
                finish = choice.finish_reason or finish
            if kill and len(text) > 60:
                kill()
                kill = None
    return text, finish


class Recorded:
    """What the one that goes on was asked."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []

    def route(self, request: bytes) -> tuple[Fault, bytes]:
        if request.startswith(b"POST"):
            self.bodies.append(json.loads(request.partition(b"\r\n\r\n")[2]))
        return Fault(), request


def test_vllm_goes_on_where_our_node_was_killed(cloud: Cloud, tmp_path: Path) -> None:
    recorded = Recorded()
    desk = start(tmp_path / "desk")
    with FaultProxy(cloud.url, route=recorded.route).in_thread() as proxy:
        node = start(
            tmp_path / "front",
            settings("desk", desk.url, "ai-assistant", "far"),
            settings("vllm", proxy.url, "vllm", "far", "env:VLLM_KEY"),
        )
        try:
            text, finish = streamed(node, desk.process.kill)
        finally:
            node.stop()
            desk.stop()
    (body,) = recorded.bodies
    begun = body["messages"][-1]["content"]
    assert body["continue_final_message"] is True
    assert finish in ("stop", "length")
    assert len(begun) > 50
    assert text.startswith(begun)
    rest = httpx.post(
        cloud.url + "/v1/chat/completions", json={**body, "stream": False, "stream_options": None},
        headers={"Authorization": f"Bearer {KEY}"}, timeout=60,
    ).json()["choices"][0]["message"]["content"]  # fmt: skip
    assert rest
    assert text == begun + rest


@pytest.mark.parametrize("whole", [False, True])
def test_our_node_goes_on_where_vllm_was_killed(cloud: Cloud, tmp_path: Path, whole: bool) -> None:
    """All its processes, or only the one that computes."""
    recorded = Recorded()
    desk = start(tmp_path / "desk")
    family = cloud.server.tree()
    engines = [one for one in family[1:] if "VLLM" in _title(one)]
    assert engines

    def kill() -> None:
        for process in family if whole else engines:
            process.kill()

    with FaultProxy(desk.url, route=recorded.route).in_thread() as proxy:
        node = start(
            tmp_path / "front",
            settings("vllm", cloud.url, "vllm", "far", "env:VLLM_KEY"),
            settings("desk", proxy.url, "ai-assistant", "far"),
        )
        try:
            text, finish = streamed(node, kill)
            stopped = time.monotonic()
        finally:
            node.stop()
            desk.stop()
            cloud.server.kill() if cloud.server.process.is_running() else None
    begun = recorded.bodies[-1]["messages"][-1]
    assert stopped
    assert begun["role"] == "assistant"
    assert len(begun["content"]) > 50
    assert text.startswith(begun["content"])
    assert len(text) > len(begun["content"])
    assert finish in ("stop", "length")


def _title(process: psutil.Process) -> str:
    return " ".join(process.cmdline())
