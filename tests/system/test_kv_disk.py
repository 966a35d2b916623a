"""A chat goes on after a restart, a kill and damage on disk: from its blocks, never wrongly."""

from pathlib import Path

import pytest
from tests.system.conftest import StartNode
from tests.system.running_node import RunningNode

SYSTEM = "You help with bread and tea. " * 120
QUESTION = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Hello!"}]


def ask(node: RunningNode, messages: list[dict[str, str]]) -> tuple[str, int]:
    """The answer, and how many of its prompt's tokens were known."""
    done = node.openai.chat.completions.create(
        model="starter", messages=messages, temperature=0, max_tokens=8  # type: ignore[arg-type]
    )  # fmt: skip
    assert done.usage
    assert done.usage.prompt_tokens_details
    return done.choices[
        0
    ].message.content or "", done.usage.prompt_tokens_details.cached_tokens or 0


def next_turn(answer: str) -> list[dict[str, str]]:
    """The conversation, one question further."""
    return [
        *QUESTION,
        {"role": "assistant", "content": answer},
        {"role": "user", "content": "And you?"},
    ]


def saved(node: RunningNode) -> None:
    """Wait until the chat is on disk."""
    node.wait_for(lambda: node.model()["engine"]["cold_blocks"] >= 4)


def blocks(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*-*-*") if path.is_file()]


@pytest.fixture
def begun(start_node: StartNode, tmp_path: Path) -> tuple[RunningNode, str]:
    """A node with one chat of about 1,000 tokens, saved."""
    node = start_node(AI_ASSISTANT_CACHE_DIR=str(tmp_path / "kv"))
    node.wait_ready()
    answer, known = ask(node, QUESTION)
    assert known == 0
    saved(node)
    return node, answer


@pytest.mark.parametrize("kill", [False, True])
def test_next_turn_after_a_restart_costs_only_its_new_tokens(
    begun: tuple[RunningNode, str], start_node: StartNode, tmp_path: Path, kill: bool
) -> None:
    node, answer = begun
    if kill:
        node.kill_engine()
        node.process.kill()
    else:
        node.stop()
    again = start_node(AI_ASSISTANT_CACHE_DIR=str(tmp_path / "kv"))
    again.wait_ready()
    assert ask(again, next_turn(answer))[1] > 800
    again.wait_for(lambda: again.model()["engine"]["cold_hit_tokens"] > 800)  # told twice a second


def test_damage_on_disk_is_found_and_computed_again(
    begun: tuple[RunningNode, str], start_node: StartNode, tmp_path: Path
) -> None:
    node, answer = begun
    node.stop()
    for path in blocks(tmp_path / "kv"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    again = start_node(AI_ASSISTANT_CACHE_DIR=str(tmp_path / "kv"))
    again.wait_ready()
    assert ask(again, next_turn(answer))[1] == 0
    again.wait_for(lambda: again.model()["engine"]["cold_refused"] >= 1)


def test_switched_off_writes_nothing(start_node: StartNode, tmp_path: Path) -> None:
    node = start_node(AI_ASSISTANT_CACHE_DISK="false", AI_ASSISTANT_CACHE_DIR=str(tmp_path / "kv"))
    node.wait_ready()
    ask(node, QUESTION)
    node.stop()
    assert blocks(tmp_path / "kv") == []


def test_engine_that_dies_finds_its_blocks_again(begun: tuple[RunningNode, str]) -> None:
    node, answer = begun
    node.kill_engine()
    node.wait_for(lambda: node.model()["restarts"] == 1)
    node.wait_ready()
    assert ask(node, next_turn(answer))[1] > 800
