"""Models are laid out anew under running streams, by the command that a user types: a pause, never
an error, and the answers are those that would have come anyway."""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import psutil
import pytest
from tests.engine.test_engine import CLOSE_CALL
from tests.system.conftest import StartNode
from tests.system.running_node import RunningNode

from ai_assistant.protocol.chunks import TokenLogprob, TopLogprob

TOKENS = 400
STREAMS = 8


class Said(NamedTuple):
    """An answer's text, and its tokens with their runners-up."""

    text: str
    tokens: list[TokenLogprob]


def story(node: RunningNode, number: int, begun: threading.Barrier | None = None) -> Said:
    """A long greedy answer, streamed; anything but its natural end is an error."""
    text, finish = "", None
    tokens: list[TokenLogprob] = []
    stream = node.openai.chat.completions.create(
        model="starter",
        messages=[{"role": "user", "content": f"Tell me story {number}."}],
        max_tokens=TOKENS, temperature=0, stream=True,
        extra_body={"ignore_eos": True, "repetition_penalty": 1.0},
        stream_options={"include_usage": True}, logprobs=True, top_logprobs=2,
    )  # fmt: skip
    for chunk in stream:
        if begun is not None and chunk.choices and chunk.choices[0].delta.content:
            begun.wait(30)
            begun = None
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
            tokens += [_entry(one) for one in (choice.logprobs and choice.logprobs.content) or ()]
        if chunk.usage:
            assert chunk.usage.completion_tokens == TOKENS
    assert finish == "length"
    assert len(tokens) == TOKENS, "each token is told once"
    return Said(text, tokens)


def _entry(one: Any) -> TokenLogprob:
    top = tuple(TopLogprob(t.token, b"", t.logprob) for t in one.top_logprobs)
    return TokenLogprob(one.token, b"", one.logprob, top)


def assert_same(said: list[Said], expected: list[Said]) -> None:
    """Token for token, up to a choice so close that another order of adding up may turn it."""
    for one, other in zip(said, expected, strict=True):
        for mine, theirs in zip(one.tokens, other.tokens, strict=True):
            if mine.token != theirs.token:
                best, second = theirs.top
                assert best.logprob - second.logprob < CLOSE_CALL, (one.text, mine, theirs)
                break


def with_streams(node: RunningNode, act: Callable[[], Any], count: int = STREAMS) -> list[Said]:
    """What the streams say while `act` happens."""
    barrier = threading.Barrier(count + 1)
    with ThreadPoolExecutor(count) as pool:
        said: list[Future[Said]] = [pool.submit(story, node, n, barrier) for n in range(count)]
        barrier.wait(60)
        act()
        return [future.result(120) for future in said]


def move(node: RunningNode, *words: str) -> subprocess.CompletedProcess[str]:
    return node.command("move", "starter", "--json", *words)


def moved(node: RunningNode, *words: str) -> dict[str, Any]:
    done = move(node, *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def second_engine(node: RunningNode, known: int) -> psutil.Process:
    """The engine process that is not the known one, as soon as there is one."""

    def look() -> psutil.Process | None:
        children = psutil.Process(node.process.pid).children()
        return next((c for c in children if c.pid != known and _is_engine(c)), None)

    return node.wait_for(look)


def _is_engine(process: psutil.Process) -> bool:
    try:
        return "ai_assistant.engine" in process.cmdline()
    except psutil.Error:  # it has just ended
        return False


def test_every_kind_of_move_under_eight_streams(start_node: StartNode) -> None:
    node = start_node()
    first = node.wait_ready()["engine"]["pid"]
    expected = with_streams(node, lambda: None)
    results: list[dict[str, Any]] = []

    def act() -> None:
        results.append(moved(node, "--plan", "threads=2"))
        results.append(moved(node, "--plan", "context=4096", "slots=12"))
        results.append(moved(node, "--plan", "gpu_layers=0", "threads=1", "--how", "beside"))
        results.append(moved(node, "--plan", "gpu_layers=-1", "--how", "instead"))

    said = with_streams(node, act)
    assert [result["how"] for result in results] == ["in place", "in place", "beside", "instead"]
    counts = [result["sequences"] for result in results]
    assert counts[0] == STREAMS
    assert min(counts) > 0, "on a busy machine a stream may have ended before the last move"
    assert_same(said, expected)
    engine = node.model()["engine"]
    assert (engine["slots"], engine["context_limit"]) == (12, 4096)
    assert engine["pid"] != first
    assert node.model()["restarts"] == 0


def test_new_requests_wait_and_those_given_up_are_gone(start_node: StartNode) -> None:
    node = start_node()
    node.wait_ready()
    stream = iter(node.openai.chat.completions.create(
        model="starter", messages=[{"role": "user", "content": "Story"}], max_tokens=1500,
        stream=True, extra_body={"ignore_eos": True},
    ))  # fmt: skip
    next(stream)
    with ThreadPoolExecutor(9) as pool:
        moving = pool.submit(moved, node, "--plan", "gpu_layers=0", "--how", "instead")
        asked: list[Future[Said]] = []
        while not moving.done():
            if len(asked) < 6:
                asked.append(pool.submit(story, node, len(asked)))
            if len(asked) == 3:
                stream.close()  # type: ignore[attr-defined]
            time.sleep(0.1)
        assert all(future.result(60) for future in asked)
        assert moving.result(60)["how"] == "instead"
    node.wait_for(lambda: node.model()["engine"]["running"] == 0)


@pytest.mark.parametrize("how", ["beside", "instead"])
def test_killed_new_engine_leaves_the_streams_unharmed(start_node: StartNode, how: str) -> None:
    node = start_node()
    old = node.wait_ready()["engine"]["pid"]
    failed: list[subprocess.CompletedProcess[str]] = []

    def act() -> None:
        with ThreadPoolExecutor(1) as pool:
            moving = pool.submit(move, node, "--plan", "gpu_layers=0", "--how", how)
            second_engine(node, old).send_signal(signal.SIGKILL)
            failed.append(moving.result(60))

    said = with_streams(node, act, 3)
    assert_same(said, with_streams(node, lambda: None, 3))
    assert failed[0].returncode != 0
    assert "ended with code -9" in failed[0].stderr
    assert "Traceback" not in failed[0].stderr


def test_plan_that_makes_no_sense_is_refused_in_words(node: RunningNode) -> None:
    for words, told in [
        (("--plan", "thread=2"), "it has threads"),
        (("--plan", "kv_type=q9"), "kv_type"),
        (("--plan", "context=99999999"), "context"),
        (("--plan", "threads=many"), "threads"),
        (("--plan", "threads"), "KEY=VALUE"),
        ((), "Name what to change"),
    ]:
        done = move(node, *words)
        assert done.returncode in (1, 2, 4), (words, done)
        assert told in done.stderr, (words, done.stderr)
        assert "Traceback" not in done.stderr
    unknown = node.http.post("/admin/models/nobody/move", json={"plan": {"threads": 1}})
    assert unknown.status_code == 404
    assert node.http.post("/admin/models/starter/move", json={}).status_code == 400


def test_move_needs_a_key_where_there_are_keys(start_node: StartNode) -> None:
    node = start_node(AI_ASSISTANT_API_KEY="secret-of-the-owner")
    answer = node.http.post("/admin/models/starter/move", json={"plan": {"threads": 1}})
    assert answer.status_code == 401


def test_stream_ends_well_when_the_node_is_terminated_during_a_move(start_node: StartNode) -> None:
    node = start_node()
    old = node.wait_ready()["engine"]["pid"]
    expected = with_streams(node, lambda: None, 2)

    def act() -> None:
        with ThreadPoolExecutor(1) as pool:
            moving = pool.submit(move, node, "--plan", "gpu_layers=0", "--how", "beside")
            second_engine(node, old)
            node.process.send_signal(signal.SIGTERM)
            moving.result(60)

    assert_same(with_streams(node, act, 2), expected)
    assert node.process.wait(60) == 0
