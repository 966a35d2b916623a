"""llama-server as a cloud of ours: what a client gets from it through our node."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from benchmarks import llama_server
from benchmarks.models import STARTER
from benchmarks.servers import Server
from benchmarks.source import BENCH
from tests.system.clouds import (
    LONG,
    STORY,
    assert_probabilities_and_bare_text,
    assert_refused,
    assert_schema_is_kept,
)
from tests.system.running_node import RunningNode

KEY = "sk-only-for-this-test"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (BENCH / "llama-server" / "complete").exists(),
        reason="`python -m benchmarks.llama_server` builds it",
    ),
]


@pytest.fixture(scope="module")
def cloud() -> Iterator[Server]:
    extra = ["--metrics", "--api-key", KEY, "--threads", "1"]
    with llama_server.start(STARTER, slots=2, context=2048, extra=extra) as server:
        yield server


@pytest.fixture(scope="module")
def front(cloud: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    folder = tmp_path_factory.mktemp("llama-server")
    (folder / "providers.toml").write_text(
        "".join(
            f'[{name}]\nkind = "{kind}"\nbase_url = "http://127.0.0.1:{cloud.port}/v1"\n'
            f'key = "env:{key}"\n[[{name}.models]]\nid = "starter"\nnames = ["{model}"]\n'
            for name, kind, key, model in (
                ("near", "llama-server", "GOOD_KEY", "far"),
                ("plain", "openai-compatible", "GOOD_KEY", "plain"),
                ("shut", "llama-server", "WRONG_KEY", "locked"),
            )
        )
    )
    node = RunningNode(folder, GOOD_KEY=KEY, WRONG_KEY="sk-wrong")
    node.wait_ready()
    yield node
    node.stop()


@pytest.mark.parametrize("model", ["far", "plain"])
def test_a_stream_and_its_figures(front: RunningNode, cloud: Server, model: str) -> None:
    asked: dict[str, Any] = {"messages": STORY, "temperature": 0, "max_tokens": 60}
    text, usage, finish = "", None, ""
    with front.openai.chat.completions.create(
        model=model, stream=True, stream_options={"include_usage": True}, **asked
    ) as stream:
        for chunk in stream:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                text += choice.delta.content or ""
                finish = choice.finish_reason or finish
    direct = httpx.post(
        f"http://127.0.0.1:{cloud.port}/v1/chat/completions", json=asked, timeout=60,
        headers={"Authorization": f"Bearer {KEY}"},
    ).json()  # fmt: skip
    assert text == direct["choices"][0]["message"]["content"]
    assert finish == direct["choices"][0]["finish_reason"]
    assert usage is not None
    assert usage.prompt_tokens == direct["usage"]["prompt_tokens"]
    assert usage.completion_tokens == direct["usage"]["completion_tokens"]


def test_a_schema_is_kept(front: RunningNode) -> None:
    assert_schema_is_kept(front, STORY, max_tokens=100)


def test_probabilities_and_bare_text(front: RunningNode) -> None:
    assert_probabilities_and_bare_text(front)


def busy(cloud: Server) -> bool:
    """Whether it computes for anybody."""
    url = f"http://127.0.0.1:{cloud.port}/metrics"
    lines = httpx.get(url, headers={"Authorization": f"Bearer {KEY}"}).text.splitlines()
    (line,) = [one for one in lines if one.startswith("llamacpp:requests_processing")]
    return float(line.split()[1]) > 0


def test_a_client_that_leaves_stops_it(front: RunningNode, cloud: Server) -> None:
    counting: list[Any] = [{"role": "user", "content": "Say it again and again. " * 20}]
    stream = front.openai.chat.completions.create(
        model="far", messages=counting, stream=True, max_tokens=1500,
        extra_body={"logit_bias": {"2": -100}},
    )  # fmt: skip
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            break
    assert busy(cloud)
    left = time.monotonic()
    stream.close()
    while busy(cloud):
        assert time.monotonic() - left < 2
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({"messages": LONG}, 400, "context_length_exceeded"),
        ({"model": "locked"}, 502, "provider_key_refused"),
        ({"extra_body": {"guided_regex": "[ab]{4}c"}}, 400, "unsupported_feature"),
    ],
)
def test_what_it_refuses_has_a_name(
    front: RunningNode, asked: dict[str, Any], status: int, code: str
) -> None:
    assert_refused(front, asked, status, code)
