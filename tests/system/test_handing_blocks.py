"""The KV blocks of a long prompt go along with its answer: the node that takes over computes the
tail only. The model is one that computes slowly and has a small cache, so that sending pays.
"""

import asyncio
import contextlib
import re
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmarks import tiny
from benchmarks.hand_over import proxy
from tests.system.running_node import RunningNode
from tests.system.test_handing_over import Heard, egress_files, hear, prompts_of, terminate

from ai_assistant.store.models import starter_path

TOKENS = 120
BLOCK = 256
LONG = "the dog and the cat saw a small house in the water. " * 440
ASKED: dict[str, Any] = {
    "model": "slow",
    "messages": [{"role": "user", "content": LONG}],
    "max_tokens": TOKENS,
    "guided_regex": "[a-z ]{5000}",  # what random weights say else is no text
    "ignore_eos": False,
}
RULES = '[unlabelled]\nallow = ["lan"]\n[labels.email]\nredact = ["lan"]\n'


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wide feed-forward layers: much to compute, little to keep."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "FEED", 65_536)
        return tiny.make("tiny", tmp_path_factory.mktemp("model") / "slow.gguf", context=8192)


def node_with(
    model: Path, folder: Path, *others: str, keys: str = "", **environment: str
) -> RunningNode:
    """A node with the model; `others`: addresses of nodes that have it too. `keys`: those that it
    wants to see, of which `owner` is one."""
    folder.mkdir(exist_ok=True)
    if keys:
        (folder / "config.toml").write_text(f"[server]\napi_keys = {keys}\n")
    entries = [
        f'[desk{number}]\nkind = "ai-assistant"\nbase_url = "{url}/v1"\nplace = "lan"\n'
        f'key = "env:DESK_KEY"\n[[desk{number}.models]]\nid = "slow"\nnames = ["slow", "far"]\n'
        for number, url in enumerate(others)
    ]
    if others:
        (folder / "providers.toml").write_text("".join(entries))
        (folder / "policy.toml").write_text(RULES)
    flags = ("--model", str(model)) if model.name == "slow.gguf" else ()
    # Guesses would make short work of an answer that is to be handed over.
    own = {"DESK_KEY": "none", "AI_ASSISTANT_ENGINE_SPECULATION": "false"}
    made = RunningNode(folder, *flags, **(own | environment))
    if keys:
        made.http.headers["authorization"] = "Bearer owner"
    made.wait_ready("slow" if flags else "starter")
    return made


@pytest.fixture
def desk(model: Path, tmp_path: Path) -> Iterator[RunningNode]:
    made = node_with(model, tmp_path / "desk")
    yield made
    made.stop()


def computed(node: RunningNode) -> int:
    """Tokens of prompts that it has computed itself, when all that it has answered is counted."""
    assert prompts_of(node, "slow") > 0
    engine = node.model("slow")["engine"]
    count: int = engine["prompt_tokens"] - engine["cached_tokens"]
    return count


def told(node: RunningNode) -> str:
    """What its log says of blocks."""
    return "\n".join(line for line in node.log.read_text().splitlines() if "KV blocks" in line)


def assert_went_along(node: RunningNode, desk: RunningNode, heard: Heard, alone: Heard) -> None:
    """The other node computed the tail only, and the text is what one node alone says."""
    blocks = alone.usage["prompt_tokens"] // BLOCK
    sent = re.search(r"KV blocks: (\d+) of \1 ", told(node))
    assert sent, told(node)
    assert int(sent.group(1)) in (blocks, blocks + 1)
    assert computed(desk) < BLOCK
    assert heard.error is None
    assert heard.text == alone.text
    assert heard.usage["completion_tokens"] == TOKENS
    assert heard.told["before"]


def assert_go_along(
    node: RunningNode, stopped: RunningNode, desk: RunningNode, asked: dict[str, Any]
) -> None:
    """What is asked of `node` goes to the desk with its blocks when who computes it stops."""
    alone = hear(node, at=5, **asked)
    heard = hear(node, lambda: terminate(stopped), at=30, **asked)
    assert stopped.process.wait(30) == 0
    assert_went_along(node, desk, heard, alone)


@pytest.mark.slow
def test_a_node_that_stops_sends_its_blocks_along(
    model: Path, desk: RunningNode, tmp_path: Path
) -> None:
    node = node_with(model, tmp_path / "front", desk.url)
    try:
        assert_go_along(node, node, desk, ASKED)
        sent = "".join(
            path.read_text(errors="replace") for path in egress_files(tmp_path / "front")
        )
        assert "/admin/kv-blocks" in sent
    finally:
        node.stop()


def test_blocks_of_a_node_behind_another_go_through_it(
    model: Path, desk: RunningNode, tmp_path: Path
) -> None:
    victim = node_with(model, tmp_path / "victim")
    node = node_with(starter_path(), tmp_path / "front", victim.url, desk.url)
    try:
        assert_go_along(node, victim, desk, ASKED | {"model": "far"})
    finally:
        node.stop()
        victim.stop()


def assert_computed(node: RunningNode, desk: RunningNode, asked: dict[str, Any]) -> Heard:
    """The answer goes over all the same: the other node computes the prompt."""
    heard = hear(node, lambda: terminate(node), at=30, **asked)
    assert node.process.wait(30) == 0
    assert heard.error is None
    assert heard.told["before"] == ["slow"]
    assert heard.usage["completion_tokens"] == asked["max_tokens"]
    assert computed(desk) > heard.usage["prompt_tokens"] - BLOCK
    return heard


SHORT: dict[str, Any] = ASKED | {
    "messages": [{"role": "user", "content": LONG[: len(LONG) // 4]}],
    "max_tokens": 700,
}


@pytest.mark.slow
def test_a_key_with_limits_brings_no_blocks(model: Path, tmp_path: Path) -> None:
    keys = '["owner", "weak class=normal"]'
    desk = node_with(model, tmp_path / "desk", keys=keys)
    node = node_with(model, tmp_path / "front", desk.url, DESK_KEY="weak")
    try:
        assert_computed(node, desk, SHORT)
        assert "it may not put KV blocks into this node's cache" in told(node)
    finally:
        node.stop()
        desk.stop()


@pytest.mark.slow
@pytest.mark.parametrize("unwilling", ["front", "desk"])
def test_a_node_whose_owner_does_not_want_it_shares_no_blocks(
    model: Path, tmp_path: Path, unwilling: str
) -> None:
    off = {"AI_ASSISTANT_CACHE_HAND_OVER": "false"}
    desk = node_with(model, tmp_path / "desk", **(off if unwilling == "desk" else {}))
    node = node_with(model, tmp_path / "front", desk.url, **(off if unwilling == "front" else {}))
    try:
        assert_computed(node, desk, SHORT)
        said = "cache.hand_over is false in its settings" in told(node)
        assert said is (unwilling == "desk")
        offered = "/admin/kv-blocks" in "".join(
            path.read_text(errors="replace") for path in egress_files(tmp_path / "front")
        )
        assert offered is (unwilling == "desk")
    finally:
        node.stop()
        desk.stop()


@pytest.mark.slow
def test_blocks_of_words_that_are_hidden_stay(
    model: Path, desk: RunningNode, tmp_path: Path
) -> None:
    node = node_with(model, tmp_path / "front", desk.url)
    try:
        mail = {"role": "user", "content": "Write to jane.roe@example.org: " + LONG[:5000]}
        assert_computed(node, desk, SHORT | {"messages": [mail]})
        assert "KV blocks do not go to desk0/slow" in told(node)
        for path in egress_files(tmp_path / "front"):
            assert "/admin/kv-blocks" not in path.read_text(errors="replace")
    finally:
        node.stop()


@contextlib.contextmanager
def slowly(url: str, rate: float) -> Generator[str]:
    """The address of a node behind a link of so many bytes a second."""
    loop, ready, found = asyncio.new_event_loop(), threading.Event(), list[int]()
    stop = asyncio.Event()

    async def serve() -> None:
        async with proxy(int(url.rpartition(":")[2]), rate, b"") as port:
            found.append(port)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    ready.wait(10)
    try:
        yield f"http://127.0.0.1:{found[0]}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@pytest.mark.slow
def test_a_link_that_is_too_slow_is_given_up(
    model: Path, desk: RunningNode, tmp_path: Path
) -> None:
    with slowly(desk.url, 150_000) as url:
        node = node_with(model, tmp_path / "front", url)
        try:
            assert_computed(node, desk, SHORT)
            assert "it fell behind computing" in told(node)
        finally:
            node.stop()
