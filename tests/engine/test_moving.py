"""A conversation is moved into another KV cache while it is speaking. What it says is what it would
have said, no token lost or double."""

import pytest
from msgspec import structs
from tests.engine.conftest import MakeBench
from tests.engine.moving_tools import ANSWER, Heard, ask_all, order, steps, texts, unmoved
from tests.engine.test_engine import QUESTIONS, SYSTEM, assert_same_but_for_close_calls, chat

from ai_assistant.engine.changes import Depth, depth
from ai_assistant.protocol.frames import Move, Moved


@pytest.mark.parametrize(
    ("changes", "deep"),
    [
        ({"threads": 2, "threads_batch": 2}, Depth.SETTINGS),
        ({"context_limit": 4000}, Depth.SETTINGS),
        ({"context_limit": 8192, "cells": 8192}, Depth.CONTEXT),
        ({"slots": 12, "chunk": 256}, Depth.CONTEXT),
    ],
)
def test_greedy_answers_are_the_same_as_without_the_move(
    bench: MakeBench, changes: dict[str, int], deep: Depth
) -> None:
    expected = unmoved(bench)
    moved = bench()
    heard = Heard(moved)
    plan = structs.replace(moved.plan, **changes)
    assert depth(moved.plan, plan) is deep
    ask_all(moved)
    steps(moved, 12)
    order(moved, Move(plan))
    report = heard.last(Moved)
    assert isinstance(report, Moved)
    assert (report.error, report.sequences) == (None, len(QUESTIONS))
    moved.run()
    assert_same_but_for_close_calls(texts(moved), expected)
    assert moved.engine.status().context_limit == plan.context_limit


def test_other_kv_type_computes_again_and_loses_nothing(bench: MakeBench) -> None:
    moved = bench()
    heard = Heard(moved)
    ask_all(moved)
    steps(moved, 12)
    before = texts(moved)
    order(moved, Move(structs.replace(moved.plan, kv_type="q8_0")))
    assert heard.last(Moved).error is None  # type: ignore[attr-defined]
    moved.run()
    assert all(text.startswith(said) for text, said in zip(texts(moved), before, strict=True))
    assert {moved.collector.usage(f"r{i}").completion_tokens for i in range(8)} == {ANSWER}


def test_plan_that_cannot_be_loaded_leaves_the_old_one(bench: MakeBench) -> None:
    expected = unmoved(bench)
    moved = bench()
    heard = Heard(moved)
    ask_all(moved)
    steps(moved, 12)
    # The kernels know no such type.
    order(moved, Move(structs.replace(moved.plan, kv_type="q9", cells=8192, context_limit=4096)))
    report = heard.last(Moved)
    assert isinstance(report, Moved)
    assert report.error
    assert "old one goes on" in report.error.message
    assert moved.engine.status().context_limit == 2048
    moved.run()
    assert_same_but_for_close_calls(texts(moved), expected)


def test_context_that_is_too_small_for_a_running_answer_is_refused(bench: MakeBench) -> None:
    moved = bench()
    heard = Heard(moved)
    ask_all(moved, SYSTEM)
    steps(moved, 12)
    order(moved, Move(structs.replace(moved.plan, cells=256, context_limit=256)))
    report = heard.last(Moved)
    assert isinstance(report, Moved)
    assert report.error
    assert report.error.param == "context"
    moved.run()
    assert not moved.collector.failed


def test_growing_context_lets_an_answer_go_on(bench: MakeBench) -> None:
    moved = bench(context_limit=256, cells=256)
    Heard(moved)
    moved.ask("story", chat("Tell me a story."), max_tokens=400)
    steps(moved, 100)
    order(moved, Move(structs.replace(moved.plan, cells=1024, context_limit=1024)))
    assert moved.run().usage("story").completion_tokens == 400


def test_prompts_in_common_still_fit_when_each_state_holds_them_all(bench: MakeBench) -> None:
    moved = bench(cells=1024, context_limit=1024)
    heard = Heard(moved)
    ask_all(moved, SYSTEM)
    steps(moved, 12)
    assert len(moved.engine._batcher.running) == 8
    order(moved, Move(structs.replace(moved.plan, slots=9)))
    steps(moved, 2)
    assert len(moved.engine._batcher.running) == 8, "nobody waits for room"
    moved.run()
    assert heard.last(Moved).error is None  # type: ignore[attr-defined]
    assert [len(text) > 0 for text in texts(moved)] == [True] * len(QUESTIONS)
    assert {moved.collector.usage(f"r{i}").completion_tokens for i in range(8)} == {ANSWER}


def test_retained_conversations_are_still_known_after_a_move(bench: MakeBench) -> None:
    moved = bench()
    Heard(moved)
    first = chat("Hello!", SYSTEM)
    moved.ask("turn1", first, max_tokens=8)
    answer = moved.run().text("turn1")
    order(moved, Move(structs.replace(moved.plan, cells=8192, context_limit=4096)))
    moved.ask("turn2", first + answer + "<|im_end|>\n" + chat("And you?"), max_tokens=8)
    assert moved.run().usage("turn2").cached_tokens >= len(moved.tokens(first))
