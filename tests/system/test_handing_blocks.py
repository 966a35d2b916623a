"""The KV blocks of a long prompt go along with its answer: the node that takes over computes the
tail only. The model is one that computes slowly and has a small cache, so that sending pays.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmarks import tiny
from tests.system.running_node import RunningNode
from tests.system.test_handing_over import Heard, egress_files, hear, prompts_of, terminate

from ai_assistant.store.models import starter_path

TOKENS = 160
BLOCK = 256
LONG = "the dog and the cat saw a small house in the water. " * 440
ASKED: dict[str, Any] = {
    "model": "slow",
    "messages": [{"role": "user", "content": LONG}],
    "max_tokens": TOKENS,
    "guided_regex": "[a-z ]{2000}",  # what random weights say else is no text
    "ignore_eos": False,
}
RULES = '[unlabelled]\nallow = ["lan"]\n[labels.email]\nredact = ["lan"]\n'


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wide feed-forward layers: much to compute, little to keep."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "FEED", 65_536)
        return tiny.make("tiny", tmp_path_factory.mktemp("model") / "slow.gguf", context=8192)


def node_with(model: Path, folder: Path, *others: str, **environment: str) -> RunningNode:
    """A node with the model; `others`: addresses of nodes that have it too, with their keys."""
    folder.mkdir(exist_ok=True)
    entries = [
        f'[desk{number}]\nkind = "ai-assistant"\nbase_url = "{url}/v1"\nplace = "lan"\n'
        f'key = "env:DESK_KEY"\n[[desk{number}.models]]\nid = "slow"\nnames = ["slow", "far"]\n'
        for number, url in enumerate(others)
    ]
    if others:
        (folder / "providers.toml").write_text("".join(entries))
        (folder / "policy.toml").write_text(RULES)
    flags = ("--model", str(model)) if model.name == "slow.gguf" else ()
    made = RunningNode(folder, *flags, **({"DESK_KEY": "none"} | environment))
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
    assert f"{blocks} of {blocks} (" in told(node)
    assert computed(desk) < 3 * BLOCK
    assert heard.error is None
    assert heard.text == alone.text
    assert heard.usage["completion_tokens"] == TOKENS
    assert heard.told["before"]


@pytest.mark.slow
def test_a_node_that_stops_sends_its_blocks_along(
    model: Path, desk: RunningNode, tmp_path: Path
) -> None:
    node = node_with(model, tmp_path / "front", desk.url)
    try:
        alone = hear(node, at=5, **ASKED)
        heard = hear(node, lambda: terminate(node), at=30, **ASKED)
        assert node.process.wait(30) == 0
        assert_went_along(node, desk, heard, alone)
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
        far = ASKED | {"model": "far"}
        alone = hear(node, at=5, **far)
        heard = hear(node, lambda: terminate(victim), at=30, **far)
        assert victim.process.wait(30) == 0
        assert_went_along(node, desk, heard, alone)
    finally:
        node.stop()
        victim.stop()
