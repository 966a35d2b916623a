"""Engines die, files are torn, models compete for memory: nobody is left without an answer."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from tests.system.conftest import StartNode
from tests.system.running_node import RunningNode

STORY: dict[str, Any] = {
    "model": "starter",
    "messages": [{"role": "user", "content": "Tell me a story."}],
    "max_tokens": 1500,
    "stream": True,
    "extra_body": {"ignore_eos": True},
}


def ask(node: RunningNode, model: str = "starter") -> str:
    answer = node.openai.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Hello!"}], max_tokens=5
    )
    return answer.choices[0].finish_reason


def test_killed_engine_is_a_named_error_and_comes_back(start_node: StartNode) -> None:
    node = start_node()
    node.wait_ready()
    stream = iter(node.openai.chat.completions.create(**STORY))
    next(stream)
    begun = time.monotonic()
    node.kill_engine()
    with pytest.raises(openai.APIError) as caught:
        list(stream)
    assert time.monotonic() - begun < 2
    assert caught.value.code == "engine_died"
    assert "killed by signal 9" in caught.value.message
    assert ask(node)
    assert node.model()["restarts"] == 1


def test_engine_that_keeps_dying_is_given_up_with_a_reason(start_node: StartNode) -> None:
    node = start_node(AI_ASSISTANT_SCHEDULER_MAX_RESTARTS="1")
    for _ in range(2):
        node.kill_engine()
        node.wait_for(lambda: node.model()["state"] != "ready")
    node.wait_for(lambda: node.model()["state"] == "failed")
    assert "died 2 times" in node.model()["error"]
    assert ask(node), "asking again starts it again"


def test_dead_node_takes_its_engine_along(start_node: StartNode) -> None:
    node = start_node()
    engine = node.wait_ready()["engine"]["pid"]
    node.process.kill()
    node.process.wait()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and Path(f"/proc/{engine}").exists():
        time.sleep(0.02)
    assert not Path(f"/proc/{engine}").exists()


def test_terminated_node_finishes_what_it_has_begun(start_node: StartNode) -> None:
    node = start_node()
    node.wait_ready()
    chunks: list[str | None] = []

    def read() -> None:
        story = STORY | {"max_tokens": 400}
        chunks.extend(
            c.choices[0].finish_reason for c in node.openai.chat.completions.create(**story)
        )

    reader = threading.Thread(target=read)
    reader.start()
    node.wait_for(lambda: node.model()["engine"]["running"] == 1)
    node.process.send_signal(signal.SIGTERM)
    reader.join(60)
    assert chunks[-1] == "length"
    assert node.process.wait(20) == 0


def test_models_make_room_for_each_other(
    start_node: StartNode, tiny_models: dict[str, Path]
) -> None:
    flags = [flag for path in tiny_models.values() for flag in ("--model", str(path))]
    node = start_node(*flags, AI_ASSISTANT_SCHEDULER_MAX_LOADED="2")
    for name in ("tiny", "tiny-swa", "tiny-recurrent", "tiny-hybrid", "starter", "tiny"):
        assert ask(node, name)
        states = [entry["state"] for entry in node.http.get("/status").json()["models"]]
        assert states.count("ready") <= 2


def test_model_in_use_is_not_evicted(start_node: StartNode, tiny_models: dict[str, Path]) -> None:
    node = start_node(
        "--model", str(tiny_models["tiny"]), AI_ASSISTANT_SCHEDULER_MAX_LOADED="1"
    )  # fmt: skip
    stream = node.openai.chat.completions.create(**STORY | {"max_tokens": 300})
    finishes = [next(iter(stream)).choices[0].finish_reason]
    waiting = threading.Thread(target=ask, args=(node, "tiny"))
    waiting.start()
    finishes += [chunk.choices[0].finish_reason for chunk in stream]
    assert finishes[-1] == "length"
    waiting.join(30)
    assert not waiting.is_alive()
    assert node.model("tiny")["state"] == "ready"


def test_loading_model_is_a_503_with_retry_after(
    start_node: StartNode, tiny_models: dict[str, Path]
) -> None:
    node = start_node(
        "--model", str(tiny_models["tiny"]), AI_ASSISTANT_SERVER_LOAD_WAIT_SECONDS="0"
    )  # fmt: skip
    body = {"model": "starter", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
    first = node.http.post("/v1/chat/completions", json=body)
    assert first.status_code == 503
    assert float(first.headers["retry-after"]) > 0
    assert first.json()["error"]["code"] == "model_loading"
    assert 0 <= first.json()["error"]["loading"]["progress"] <= 1
    node.wait_ready()
    assert node.http.post("/v1/chat/completions", json=body).status_code == 200


def test_embedding_model_gives_unit_vectors(
    start_node: StartNode, tiny_models: dict[str, Path]
) -> None:
    node = start_node("--model", str(tiny_models["tiny-embedding"]))
    texts = ["the cat said hello", "42", "the cat said hello"]
    answer = node.openai.embeddings.create(
        model="tiny-embedding", input=texts, encoding_format="float"
    )
    one, other, same = (entry.embedding for entry in answer.data)
    assert sum(x * x for x in one) == pytest.approx(1, abs=1e-4)
    assert one == pytest.approx(same, abs=1e-5)
    assert one != pytest.approx(other, abs=1e-2)
    alone = node.openai.embeddings.create(model="tiny-embedding", input=texts[0])
    assert alone.data[0].embedding == pytest.approx(one, abs=1e-4)
    with pytest.raises(openai.BadRequestError):
        ask(node, "tiny-embedding")


@pytest.mark.parametrize("damage", ["torn", "head", "text", "missing", "folder"])
def test_bad_file_is_told_before_anything_starts(damage: str, tmp_path: Path,
                                                 tiny_models: dict[str, Path]) -> None:  # fmt: skip
    whole = tiny_models["tiny"].read_bytes()
    path = tmp_path / "bad.gguf"
    match damage:
        case "torn":
            path.write_bytes(whole[: len(whole) - 1000])
        case "head":
            path.write_bytes(whole[:300])
        case "text":
            path.write_text("this is not a model")
        case "folder":
            path.mkdir()
    ended = subprocess.run(
        [sys.executable, "-m", "ai_assistant", "serve", "--port", "0", "--model", str(path)],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "bad.gguf" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_slow_reader_holds_up_nobody(node: RunningNode) -> None:
    body = {"model": "starter", "messages": [{"role": "user", "content": "Story"}],
            "max_tokens": 1500, "stream": True, "ignore_eos": True}  # fmt: skip
    with httpx.stream("POST", node.url + "/v1/chat/completions", json=body, timeout=60) as slow:
        assert slow.status_code == 200
        begun = time.monotonic()
        assert ask(node)
        assert time.monotonic() - begun < 20


def test_node_that_loses_its_engine_while_it_stops_ends_all_the_same(start_node: StartNode) -> None:
    node = start_node()
    node.kill_engine()
    assert node.stop() == 0


def test_whole_group_is_terminated_and_the_stream_still_ends_well(start_node: StartNode) -> None:
    node = start_node()
    engine = node.wait_ready()["engine"]["pid"]
    stream = iter(node.openai.chat.completions.create(**STORY | {"max_tokens": 200}))
    finishes = [next(stream).choices[0].finish_reason]
    os.kill(engine, signal.SIGTERM)  # as a service manager does to every process of the group
    node.process.send_signal(signal.SIGTERM)
    finishes += [chunk.choices[0].finish_reason for chunk in stream]
    assert finishes[-1] == "length"
    assert node.process.wait(20) == 0


def test_second_signal_ends_now(start_node: StartNode) -> None:
    node = start_node()
    node.wait_ready()
    stream = iter(node.openai.chat.completions.create(**STORY))
    next(stream)
    node.process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    begun = time.monotonic()
    node.process.send_signal(signal.SIGINT)
    assert node.process.wait(10) == 130
    assert time.monotonic() - begun < 5
