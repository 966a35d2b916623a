"""Blocks leave the context for RAM and come back: equal to the slow honest path, shared once."""

from array import array
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.conftest import MakeBench
from tests.engine.harness import Bench
from tests.engine.test_engine import (
    QUESTIONS,
    assert_same_but_for_close_calls,
    chat,
    one_at_a_time,
    step,
)

from ai_assistant.engine import batcher
from ai_assistant.engine.kernels import Model
from ai_assistant.kvcache.blocks import BLOCK, Block, BlockId, block_name, root_name
from ai_assistant.kvcache.tiers import Piece, Restoring, Speeds, Tiers, worth_fetching
from ai_assistant.kvcache.warm import WarmStore
from ai_assistant.protocol.engine_plan import ColdPlan
from ai_assistant.protocol.requests import Priority

ROOT = root_name(b"")
LONG = "<|im_start|>system\n" + "You help with bread and tea. " * 90 + "<|im_end|>\n"


def chain(tokens: "array[int]", size: int = 8) -> list[Block]:
    """The blocks of a sequence, the tail included; each state says where it begins."""
    blocks: list[Block] = []
    parent = ROOT
    for start in range(0, len(tokens), BLOCK):
        part = tokens[start : start + BLOCK]
        name = block_name(parent, part)
        state = np.full(size, start // BLOCK, np.uint8)
        blocks.append(Block(BlockId(parent, name, len(part)), part, state))
        parent = name
    return blocks


def tiers_with(*sequences: "array[int]", budget: int = 1 << 20) -> Tiers:
    tiers = Tiers(WarmStore(budget), None, shares_prefixes=True)
    for tokens in sequences:
        for block in chain(tokens):
            tiers.put(block, durable=False)
    tiers.warm.check_integrity()
    return tiers


sequences = st.lists(st.integers(0, 1), min_size=1, max_size=6).map(
    lambda kinds: array("i", [kind * 1000 + i % 7 for kind in kinds for i in range(100)])
)


@given(st.lists(sequences, min_size=1, max_size=5), sequences)
def test_longest_beginning_is_found(known: list["array[int]"], wanted: "array[int]") -> None:
    tiers = tiers_with(*known)
    found = sum(piece.used for piece in tiers.find(wanted, ROOT))
    honest = max(_common(one, wanted) for one in known)
    # Beginnings of fewer than 16 tokens behind the last full block are not looked for.
    assert honest - 16 < found <= honest


def _common(a: "array[int]", b: "array[int]") -> int:
    pairs = zip(a, b, strict=False)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))


def test_equal_beginnings_are_held_once() -> None:
    shared = array("i", range(2 * BLOCK))
    tiers = tiers_with(shared + array("i", [7] * 50), shared + array("i", [8] * 50))
    assert len(tiers.warm) == 4


def test_a_longer_tail_takes_the_place_of_its_beginning() -> None:
    first = array("i", range(BLOCK + 20))
    tiers = tiers_with(first, first + array("i", [5, 6, 7]))
    assert len(tiers.warm) == 2


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 400)), max_size=100))
def test_budget_is_kept_and_ends_go_first(puts: list[tuple[int, int]]) -> None:
    store = WarmStore(1000)
    for value, size in puts:
        for block in chain(array("i", [value] * 600), size):
            store.put(block)
        store.touch(block.id.name for block in chain(array("i", [value] * 600), size))
        store.check_integrity()
    for value in range(10):
        kept = [store.get(block.id.name) is not None for block in chain(array("i", [value] * 600))]
        assert kept == sorted(kept, reverse=True), "a block is held without the one before it"


def test_tenants_do_not_see_each_other() -> None:
    tokens = array("i", range(BLOCK))
    assert tiers_with(tokens).find(tokens, root_name(b"bob")) == []


def piece(used: int, size: int, *, on_disk: bool = False) -> Piece:
    block = Block(BlockId(ROOT, b"", used), array("i"), np.zeros(0, np.uint8))
    return Piece(block.id, used, size, None if on_disk else block)


def test_fetching_is_left_when_computing_is_faster() -> None:
    fast = Speeds(prefill=10_000, warm=1e9, cold=1e8)
    near = [piece(256, 1 << 20)] * 3
    far = [piece(256, 8 << 20, on_disk=True)] * 3
    assert worth_fetching(near, 0, 0, fast) == 3
    assert worth_fetching(far, 0, 0, fast) == 0
    assert worth_fetching(far, 0, 0, Speeds(prefill=100, warm=1e9, cold=1e8)) == 3
    assert worth_fetching([*near, *far], 0, 0, fast) == 3


def test_known_tokens_are_not_counted_twice() -> None:
    speeds = Speeds(prefill=1000, warm=1e9, cold=1e9)
    assert worth_fetching([piece(256, 1 << 20)], 256, 0, speeds) == 0


def test_restoring_gives_blocks_in_order() -> None:
    tokens = array("i", range(3 * BLOCK))
    restoring = Restoring(tiers_with(tokens).find(tokens, ROOT), None)
    order = []
    while found := restoring.next(0):
        order.append(int(found[1][0]))
    assert order == [0, 1, 2]
    assert restoring.done


@pytest.mark.parametrize("question", ["And you?", "Tell me more about the bread."])
def test_long_chat_comes_back_from_ram_block_by_block(bench: MakeBench, question: str) -> None:
    engine = bench()
    first = LONG + chat("Hello!")
    engine.ask("turn1", first, max_tokens=8)
    answer = engine.run().text("turn1")
    engine.ask(
        "other", chat(QUESTIONS[0], "<|im_start|>system\nBe short.<|im_end|>\n"), max_tokens=40
    )
    engine.run()
    assert engine.engine.status().cells_retained < 100
    following = first + answer + "<|im_end|>\n" + chat(question)
    engine.ask("turn2", following, max_tokens=12)
    collector = engine.run()
    assert collector.usage("turn2").cached_tokens >= len(engine.tokens(first))
    assert engine.engine.status().warm_hit_tokens >= len(engine.tokens(first))
    alone = one_at_a_time(bench(retained=0, warm_bytes=0), [following], 12)
    assert_same_but_for_close_calls([collector.text("turn2")], alone)


def test_branch_inside_a_block_uses_its_beginning(bench: MakeBench) -> None:
    engine = bench()
    engine.ask("one", LONG + chat("Hello!"), max_tokens=4)
    engine.run()
    engine.ask("other", list(range(300, 700)), max_tokens=30)
    engine.run()
    branch = LONG + chat("Who are you?")
    engine.ask("two", branch, max_tokens=8)
    collector = engine.run()
    assert collector.usage("two").cached_tokens >= len(engine.tokens(LONG)) - 1
    alone = one_at_a_time(bench(retained=0, warm_bytes=0), [branch], 8)
    assert_same_but_for_close_calls([collector.text("two")], alone)


def test_abort_while_blocks_come_back(bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher, "FETCH_SECONDS", 0.0)
    monkeypatch.setattr(batcher, "FETCH_SHARE", 0.0)
    engine = bench()
    engine.ask("one", LONG + chat("Hello!"), max_tokens=4)
    engine.run()
    engine.ask("other", list(range(300, 700)), max_tokens=30)
    engine.run()
    engine.ask("busy", list(range(400, 500)), max_tokens=60)
    step(engine)
    engine.ask("gone", LONG + chat("Who?"), max_tokens=8)
    step(engine)
    (gone,) = engine.engine._batcher.of_request("gone")
    assert gone.restoring is not None
    engine.engine._abort("gone")
    assert engine.run().usage("busy").completion_tokens == 60


def cold(folder: Path) -> ColdPlan:
    return ColdPlan(folder=str(folder), bytes=1 << 30, daily_bytes=1 << 40)


@pytest.mark.parametrize("kv_type", ["f16", "q8_0", "f32"])
def test_chat_from_disk_equals_the_honest_path(
    bench: MakeBench, tmp_path: Path, kv_type: str
) -> None:
    first = LONG + chat("Hello!")
    before = bench(cold=cold(tmp_path), kv_type=kv_type)
    before.ask("turn1", first, max_tokens=8)
    answer = before.run().text("turn1")
    following = first + answer + "<|im_end|>\n" + chat("And you?")
    after = bench(cold=cold(tmp_path), kv_type=kv_type)
    assert after.engine._cold.wait_ready(5)
    after.ask("turn2", following, max_tokens=16)
    collector = after.run()
    assert after.engine.status().cold_hit_tokens >= len(after.tokens(first))
    alone = one_at_a_time(bench(retained=0, warm_bytes=0, kv_type=kv_type), [following], 16)
    assert_same_but_for_close_calls([collector.text("turn2")], alone)


def test_other_kv_type_does_not_find_it(bench: MakeBench, tmp_path: Path) -> None:
    before = bench(cold=cold(tmp_path))
    before.ask("one", LONG, max_tokens=4)
    before.run()
    after = bench(cold=cold(tmp_path), kv_type="q8_0")
    assert after.engine._cold.wait_ready(5)
    after.ask("two", LONG, max_tokens=4)
    assert after.run().usage("two").cached_tokens == 0


def test_batch_work_is_not_written_to_disk(bench: MakeBench, tmp_path: Path) -> None:
    engine = bench(cold=cold(tmp_path))
    engine.ask("one", LONG, max_tokens=4, priority=Priority.BATCH)
    engine.run()
    assert engine.engine.status().cold_blocks == 0


def test_pinned_prompt_is_known_before_the_first_question(bench: MakeBench, tmp_path: Path) -> None:
    for _start in range(2):
        engine = bench(cold=cold(tmp_path))
        engine.engine.warm_up([engine.tokens(LONG)])
        for tenant in ("", "alice"):
            engine.ask(f"first {tenant}", LONG + chat("Hello!"), max_tokens=4, tenant=tenant)
            usage = engine.run().usage(f"first {tenant}")
            assert usage.cached_tokens >= len(engine.tokens(LONG)) - 1
    assert list(tmp_path.rglob("*.pinned"))


def test_tenants_share_nothing_but_pins(bench: MakeBench, tmp_path: Path) -> None:
    engine = bench(cold=cold(tmp_path))
    for tenant in ("alice", "bob"):
        engine.ask(tenant, LONG + chat("Hello!"), max_tokens=4, tenant=tenant)
        assert engine.run().usage(tenant).cached_tokens == 0
    engine.ask("again", LONG + chat("Who?"), max_tokens=4, tenant="alice")
    assert engine.run().usage("again").cached_tokens > 500


def test_whole_state_model_goes_on_after_a_restart(
    whole_state_model: Model, tmp_path: Path
) -> None:
    limits = {"threads": 1, "threads_batch": 1, "cells": 2048, "slots": 2, "chunk": 128}
    file = tmp_path / "model"
    file.write_bytes(b"one model")
    prompt = [3 + (7 * i) % 200 for i in range(400)]
    longer = [*prompt, *range(50, 90)]
    texts: list[str] = []
    for _start in range(2):
        engine = Bench(whole_state_model, file, cold=cold(tmp_path / "kv"), **limits)
        assert engine.engine._cold.wait_ready(5)
        engine.ask("r", prompt if not texts else longer, max_tokens=16)
        texts.append(engine.run().text("r"))
        cached = engine.collector.usage("r").cached_tokens
        engine.close()
    assert cached == len(prompt)
    fresh = Bench(whole_state_model, file, **limits)
    fresh.ask("r", longer, max_tokens=16)
    assert fresh.run().text("r") == texts[1]
    fresh.close()


def test_short_chat_moves_to_the_beginning_when_long_ones_have_gone(bench: MakeBench) -> None:
    engine = bench()
    engine.ask("long", list(range(300, 1900)), max_tokens=60)
    engine.ask("longer", list(range(320, 1820)), max_tokens=60)
    engine.ask("short", chat(QUESTIONS[0]), max_tokens=400)
    collector = engine.run()
    residence = engine.engine._residence  # type: ignore[reportPrivateUsage]
    assert residence.room.compactions == 1
    assert residence.cache.ledger.high_water < 1000
    alone = one_at_a_time(bench(retained=0, warm_bytes=0), [chat(QUESTIONS[0])], 400)
    assert_same_but_for_close_calls([collector.text("short")], alone)
