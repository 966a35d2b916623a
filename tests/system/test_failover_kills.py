"""`kill -9` of engines, of a provider and of the node itself, at random moments."""

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest
from tests.system.running_node import RunningNode

from ai_assistant.policy.egress.verify import verify

STREAMS = 40
TOKENS = 200
NAMED = {
    "engine_died", "provider_error", "provider_unreachable", "provider_stream_broken",
    "provider_stalled", "provider_failed", "model_loading", "unavailable", "shutting_down",
    "provider_malformed", "engine_error", "provider_overloaded",
}  # fmt: skip


class Nodes:
    """A front with a starter of its own, and two nodes that stand by for it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.lock = threading.Lock()
        self.fronts_killed: list[float] = []
        self.desks = [self._node(f"desk{n}") for n in range(2)]
        (folder / "front").mkdir()
        (folder / "front" / "providers.toml").write_text(
            "".join(
                f'[desk{n}]\nkind = "ai-assistant"\nbase_url = "{desk.url}/v1"\n'
                f"[desk{n}.deadlines]\nfirst_token = 20\nbetween_tokens = 5\n"
                f'[[desk{n}.models]]\nid = "starter"\nnames = ["starter"]\n'
                for n, desk in enumerate(self.desks)
            )
        )
        self.front = self._node("front")

    def _node(self, name: str, *flags: str) -> RunningNode:
        (self._folder / name).mkdir(exist_ok=True)
        node = RunningNode(self._folder / name, *flags, AI_ASSISTANT_ENGINE_SPECULATION="false")
        node.wait_ready()
        return node

    def kill(self, what: str) -> None:
        """One of them, with all that follows from it."""
        if what == "engine here":
            with contextlib.suppress(ProcessLookupError, AssertionError, httpx.HTTPError):
                self.front.kill_engine()
        elif what == "engine there":
            with contextlib.suppress(ProcessLookupError, AssertionError, httpx.HTTPError):
                self.desks[0].kill_engine()
        elif what == "provider":
            port = self.desks[0].url.rpartition(":")[2]
            self._end(self.desks[0])
            self.desks[0] = self._node("desk0", "--port", port)
        else:
            with self.lock:
                self.fronts_killed.append(time.monotonic())
                self._end(self.front)
                self.front = self._node("front")

    @staticmethod
    def _end(node: RunningNode) -> None:
        os.kill(node.process.pid, signal.SIGKILL)
        node.process.wait()
        with contextlib.suppress(Exception):
            node.stop()

    def close(self) -> None:
        for node in (self.front, *self.desks):
            node.stop()


def ask(nodes: Nodes, number: int) -> str:
    """How one stream ended for its client."""
    with nodes.lock:
        url = nodes.front.url
    client = openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0, timeout=60)
    began, tokens, finish = time.monotonic(), 0, None
    try:
        with client, client.chat.completions.create(
            model="starter", stream=True, max_tokens=TOKENS, temperature=0,
            messages=[{"role": "user", "content": f"Tell me story {number}."}],
            stream_options={"include_usage": True}, extra_body={"ignore_eos": True},
        ) as stream:  # fmt: skip
            for chunk in stream:
                tokens = chunk.usage.completion_tokens if chunk.usage else tokens
                finish = next((c.finish_reason for c in chunk.choices), None) or finish
    except openai.APIError as error:
        code = str(getattr(error, "code", None))
        if code in NAMED:
            return code
        with nodes.lock:
            killed = any(at >= began - 0.5 for at in nodes.fronts_killed)
        return "node killed" if killed else f"bad: {error!r}"
    except httpx.HTTPError as error:
        with nodes.lock:
            killed = any(at >= began - 0.5 for at in nodes.fronts_killed)
        return "node killed" if killed else f"bad: {error!r}"
    if finish is None:
        with nodes.lock:
            killed = any(at >= began - 0.5 for at in nodes.fronts_killed)
        return "node killed" if killed else "bad: no end"
    return "whole" if (tokens, finish) == (TOKENS, "length") else f"bad: {tokens} {finish}"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kills_at_random_moments_lose_nothing_in_silence(tmp_path: Path) -> None:
    chance = random.Random(1)
    nodes = Nodes(tmp_path)
    over = threading.Event()
    kills: Counter[str] = Counter()

    def reaper() -> None:
        while not over.wait(chance.uniform(0.3, 2.0)):
            what = chance.choice(("engine here", "engine there", "provider", "node"))
            nodes.kill(what)
            kills[what] += 1

    thread = threading.Thread(target=reaper)
    thread.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            outcomes = Counter(pool.map(lambda n: ask(nodes, n), range(STREAMS)))
    finally:
        over.set()
        thread.join()
        nodes.close()
    print(dict(outcomes), dict(kills))  # noqa: T201 - what a person wants to know
    assert not [one for one in outcomes if one.startswith("bad")], outcomes
    assert outcomes["whole"] > STREAMS // 4
    assert sum(kills.values()) > 3
    checked = verify(tmp_path / "front" / "data" / "egress" / "node")
    assert checked.sound, checked.problems
