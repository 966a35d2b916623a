"""Blocks go from one engine to another: used where they are what they should be, else computed."""

import itertools
import queue
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs
from tests.engine.conftest import MakeBench
from tests.engine.harness import Bench
from tests.engine.test_engine import step

from ai_assistant.engine.exchange.sound import Unsound, check_state
from ai_assistant.engine.kernels import Context, Model
from ai_assistant.kvcache.blocks import BLOCK, State
from ai_assistant.kvcache.cold.codec import RAW, unpack
from ai_assistant.protocol.blocks import (
    BlocksAnswer,
    BlocksAsk,
    Head,
    Offered,
    Part,
    Refused,
    SaveBlock,
    TakeBlock,
    Taken,
    TellBlocks,
    WeighBlocks,
    Weighed,
)
from ai_assistant.protocol.frames import AskBlocks
from ai_assistant.store.models import starter_path

PROMPT = "<|im_start|>user\n" + "Bread, tea and a b\u00f6at. " * 90 + "<|im_end|>\n"
NUMBERS = itertools.count()
Lent = tuple[Offered, list[Part]]


def asked(bench: Bench, ask: BlocksAsk) -> list[BlocksAnswer]:
    """What the engine says to it, between two steps."""
    ask_id = f"ask-{next(NUMBERS)}"
    bench.engine._take(AskBlocks(ask_id, ask))
    end = time.monotonic() + 20
    while ask_id not in bench.collector.said:
        assert time.monotonic() < end, "no answer"
        try:
            bench.engine._take(bench.orders.arrivals.get(timeout=0.02))
        except queue.Empty:
            continue
    return bench.collector.said[ask_id]


def running(bench: Bench) -> Bench:
    """An engine that has read the prompt and writes."""
    bench.ask("giver", PROMPT, max_tokens=60)
    while not bench.collector.chunks.get("giver"):
        step(bench)
    return bench


def blocks_of(bench: Bench) -> Lent:
    """All that a running answer's engine gives out, each block with its text."""
    (offered,) = asked(bench, TellBlocks("giver"))
    assert isinstance(offered, Offered)
    parts: list[Part] = []
    for index in range(offered.blocks):
        said = asked(bench, SaveBlock("giver", index, len(offered.cuts)))
        slices = [one for one in said if isinstance(one, Part)]
        head = Head(offered=offered.first(index + 1), block=slices[0].head.block)
        parts.append(Part(head, b"".join(one.payload for one in slices)))
    return offered, parts


@pytest.fixture(scope="module")
def lent(starter: Model) -> Iterator[Lent]:
    """What an engine gives out, for tests of whoever takes it."""
    giver = Bench(starter, starter_path(), threads=1, threads_batch=1)
    yield blocks_of(running(giver))
    giver.close()


def cached(bench: Bench, tenant: str) -> int:
    """Tokens of the prompt that need not be computed for that tenant."""
    bench.ask(f"look-{tenant}", PROMPT, max_tokens=20, tenant=tenant)
    bench.run()
    return bench.collector.usage(f"look-{tenant}").cached_tokens


def test_blocks_of_another_engine_are_used_and_change_nothing(steady_bench: MakeBench) -> None:
    giver, taker = running(steady_bench()), steady_bench()
    offered, parts = blocks_of(giver)
    assert offered.text.decode().startswith(PROMPT), "and some of the answer"
    (weighed,) = asked(taker, WeighBlocks(offered, "alice"))
    assert isinstance(weighed, Weighed)
    assert weighed.known == 0
    for part in parts:
        assert asked(taker, TakeBlock(part, "alice")) == [Taken()]
    (weighed,) = asked(taker, WeighBlocks(offered, "alice"))
    assert isinstance(weighed, Weighed)
    assert weighed.known == len(offered.cuts) // BLOCK > 1
    assert len(offered.cuts) % BLOCK > 16, "the last one is not whole"
    prompt = len(taker.tokens(PROMPT))
    assert cached(taker, "alice") == prompt - 1, "only the last token's logits are computed"
    giver.run()
    assert giver.collector.text("giver").startswith(taker.collector.text("look-alice"))
    assert len(taker.collector.text("look-alice")) > 20
    assert cached(taker, "bob") == 0, "they are of the tenant that brought them"


def test_a_block_is_kept_only_behind_the_one_before_it(bench: MakeBench, lent: Lent) -> None:
    (said,) = asked(bench(), TakeBlock(lent[1][1], ""))
    assert said == Refused("the block before it is not here")


def changed(part: Part, change: Callable[[State], State]) -> Part:
    """With another state, packed and summed up as it should be."""
    block = part.head.block
    assert block
    state = unpack(block.codec, block.word, block.raw, np.frombuffer(part.payload, np.uint8))
    payload = change(state.copy()).tobytes()
    block = structs.replace(
        block, codec=RAW, word=1, raw=len(payload), checksum=zlib.crc32(payload)
    )
    return Part(structs.replace(part.head, block=block), payload)


def put(at: int, form: str, value: float) -> Callable[[State], State]:
    """With a value in a place."""

    def change(state: State) -> State:
        state[at : at + struct.calcsize(form)] = np.frombuffer(struct.pack(form, value), np.uint8)
        return state

    return change


DATA = 16 + 12 * BLOCK + 8 + 12
"""Where the first layer's keys begin."""
WRONG: dict[str, tuple[Callable[[State], State], str]] = {
    "cut off": (lambda state: state[:-1], "cut off"),
    "longer": (lambda state: np.append(state, state[:1]), "longer"),
    "nothing": (lambda state: state[:3], "cut off"),
    "more cells": (put(12, "<I", 2**32 - 1), "one sequence"),
    "other positions": (put(16, "<i", 10_000), "positions"),
    "a position below zero": (put(16, "<i", -1), "positions"),
    "several sequences": (put(20, "<I", 2**31), "positions"),
    "other layers": (put(16 + 12 * BLOCK + 4, "<I", 2**31), "layers"),
    "another type": (put(DATA - 12, "<i", 0), "another type"),
    "rows without an end": (put(DATA - 8, "<Q", 2**63), "cut off"),
    "no number": (put(DATA, "<e", float("nan")), "no number"),
    "infinite": (put(DATA + 100, "<e", float("-inf")), "no number"),
}


@pytest.mark.parametrize(("change", "why"), WRONG.values(), ids=WRONG.keys())
def test_a_state_that_is_none_never_reaches_the_kernels(
    bench: MakeBench, lent: Lent, change: Callable[[State], State], why: str
) -> None:
    taker = bench()
    (said,) = asked(taker, TakeBlock(changed(lent[1][0], change), ""))
    assert isinstance(said, Refused)
    assert why in said.why
    assert not len(taker.engine._residence.tiers.warm)


FOREIGN: dict[str, tuple[dict[str, object], str]] = {
    "another model": ({"model": "ab" * 16}, "another model file"),
    "another type of cache": ({"fits": "ab" * 16}, "another type of KV cache"),
    "other cuts": ({"cuts": (1,) * BLOCK}, "cuts"),
    "smaller blocks": ({"block_tokens": 128}, "cuts"),
    "no tokens": ({"text": b"\xe2\x82" * BLOCK, "cuts": (2,) * BLOCK}, "no such token"),
}


@pytest.mark.parametrize(("fields", "why"), FOREIGN.values(), ids=FOREIGN.keys())
def test_an_offer_that_does_not_fit_is_refused(
    bench: MakeBench, lent: Lent, fields: dict[str, object], why: str
) -> None:
    (said,) = asked(bench(), WeighBlocks(structs.replace(lent[0].first(1), **fields), ""))
    assert isinstance(said, Refused)
    assert why in said.why


def test_an_engine_with_another_type_of_cache_refuses(bench: MakeBench, lent: Lent) -> None:
    (said,) = asked(bench(kv_type="q8_0"), WeighBlocks(lent[0], ""))
    assert said == Refused("they are of other kernels or another type of KV cache")


def test_an_answer_that_has_ended_gives_nothing(bench: MakeBench) -> None:
    giver = running(bench())
    giver.run()
    for ask in (TellBlocks("giver"), SaveBlock("giver", 0), TellBlocks("nobody")):
        (said,) = asked(giver, ask)
        assert isinstance(said, Refused)


def test_a_model_whose_state_cannot_be_cut_gives_nothing(whole_state_model: Model) -> None:
    bench = Bench(whole_state_model, Path("none"), threads=1, threads_batch=1)
    try:
        bench.ask("giver", [5 + i % 50 for i in range(300)], max_tokens=60)
        while not bench.collector.chunks.get("giver"):
            step(bench)
        (said,) = asked(bench, TellBlocks("giver"))
        assert isinstance(said, Refused)
    finally:
        bench.close()


@pytest.mark.parametrize("kv_type", ["f16", "bf16", "f32", "q8_0", "q4_0", "q5_1"])
def test_what_the_kernels_save_is_sound_in_every_type(starter: Model, kv_type: str) -> None:
    context = Context(
        starter, cells=512, sequences=2, chunk=256, outputs=1, threads=1, threads_batch=1,
        kv_type=kv_type,
    )  # fmt: skip
    try:
        context.batch.add(0, 0, list(range(5, 69)), 1)
        context.decode(context.batch)
        state = context.save_range(0, 16, 48)
        known = {"start": 16, "count": 32, "layers": context.layers}
        check_state(state, kv_type=kv_type, **known)
        spoiled = state.copy()
        first = 16 + 12 * 32 + 8 + 12
        spoiled[first : first + 4] = 0xFF
        with pytest.raises(Unsound):
            check_state(spoiled, kv_type=kv_type, **known)
    finally:
        context.close()
