"""A conversation is moved while it is speaking: into another KV cache, into another engine. What it
says is what it would have said, no token lost or double."""

from pathlib import Path

import pytest
from msgspec import structs
from tests.engine.conftest import MakeBench
from tests.engine.harness import Bench
from tests.engine.test_engine import (
    QUESTIONS,
    SYSTEM,
    assert_same_but_for_close_calls,
    chat,
    one_at_a_time,
    step,
)

from ai_assistant.engine.changes import Depth, depth
from ai_assistant.engine.handover import leave
from ai_assistant.engine.identity import fingerprint
from ai_assistant.engine.intake import Intake
from ai_assistant.engine.kernels import Model
from ai_assistant.engine.sequence import Prepared
from ai_assistant.protocol.chunks import TokenLogprob
from ai_assistant.protocol.frames import (
    Abort,
    EnginePlan,
    EngineReport,
    Failed,
    Generate,
    HandedOver,
    HandOver,
    Move,
    Moved,
    Resume,
    TakenOver,
    TakeOver,
)
from ai_assistant.protocol.requests import (
    GenerateRequest,
    OutputFormat,
    Partial,
    Sampling,
    TextPrompt,
)
from ai_assistant.store.models import starter_path

ANSWER = 40
GREEDY = Sampling(temperature=0, repetition_penalty=1.0)
"""All is said: another engine looks up what is left open, the harness does not."""
PLAN = EnginePlan(
    model_path="m", context_limit=2048, cells=4096, slots=8, retained=8, chunk=512, threads=1,
    threads_batch=1,
)  # fmt: skip


class Heard:
    """Keeps the reports about the move itself."""

    def __init__(self, bench: Bench) -> None:
        self.all: list[EngineReport] = []
        self._send = bench.collector.send
        bench.collector.send = self.send  # type: ignore[method-assign]
        bench.engine.intake = Intake(bench.model, bench.plan.context_limit)

    def send(self, report: EngineReport) -> None:
        self.all.append(report)
        self._send(report)

    def last(self, kind: type) -> EngineReport:
        return next(report for report in reversed(self.all) if isinstance(report, kind))


def ask_all(bench: Bench, system: str = "") -> None:
    for index, question in enumerate(QUESTIONS):
        bench.ask(f"r{index}", chat(question, system), max_tokens=ANSWER, sampling=GREEDY)


def texts(*benches: Bench) -> list[str]:
    """What all said of each request, one after the other."""
    names = [f"r{index}" for index in range(len(QUESTIONS))]
    return [
        "".join(bench.collector.text(name) for bench in benches if name in bench.collector.chunks)
        for name in names
    ]


def unmoved(make: MakeBench) -> list[list[TokenLogprob]]:
    """Each answer alone, with the runner-up of every token."""
    prompts = [chat(question) for question in QUESTIONS]
    return one_at_a_time(make(retained=0), prompts, ANSWER)


def steps(bench: Bench, count: int) -> None:
    for _ in range(count):
        step(bench)


def steps_while_busy(bench: Bench, count: int) -> None:
    bench.engine.accept()
    for _ in range(count):
        if bench.engine._batcher.busy:
            step(bench)


def order(bench: Bench, what: object) -> None:
    """Give an order about the engine, and let it act between two steps."""
    bench.orders.arrivals.put(what)
    bench.engine.accept()
    if bench.engine._asked:
        bench.engine._change()
    bench.engine._cache.check_integrity()


def _whole(model: Model) -> Bench:
    return Bench(model, starter_path(), threads=1, threads_batch=1)


def hand_over(old: Bench, new: Bench, path: Path) -> TakenOver:
    old.engine._outbox.flush()
    leave(path, old.engine._parts, old.engine._outbox, fingerprint(old.plan, old.model))
    heard = Heard(new)
    order(new, TakeOver(str(path)))
    report = heard.last(TakenOver)
    assert isinstance(report, TakenOver)
    return report


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


# Into another engine.


def test_another_engine_goes_on_with_the_very_state(bench: MakeBench, tmp_path: Path) -> None:
    prompts = [chat(question) for question in QUESTIONS]
    alone = one_at_a_time(bench(retained=0), prompts, ANSWER)
    old, new = bench(), bench(cells=8192, context_limit=4096)
    ask_all(old)
    steps(old, 12)
    said = hand_over(old, new, tmp_path / "all")
    assert (said.sequences, said.restored, said.error) == (8, 8, None)
    assert (tmp_path / "all").stat().st_mode & 0o777 == 0o600
    new.run()
    assert_same_but_for_close_calls(texts(old, new), alone)
    assert {new.collector.usage(f"r{i}").completion_tokens for i in range(8)} == {ANSWER}


def test_nobody_takes_them_over_and_the_old_engine_goes_on(
    bench: MakeBench, tmp_path: Path
) -> None:
    expected = unmoved(bench)
    old = bench()
    ask_all(old)
    steps(old, 12)
    heard = Heard(old)
    old.orders.arrivals.put(HandOver(str(tmp_path / "all")))
    old.orders.arrivals.put(Resume())
    old.engine._take(old.orders.arrivals.get())
    old.engine._change()
    assert isinstance(heard.last(HandedOver), HandedOver)
    old.run()
    assert_same_but_for_close_calls(texts(old), expected)


def test_drawn_answers_and_siblings_draw_on(bench: MakeBench, tmp_path: Path) -> None:
    drawn = Sampling(
        temperature=0.9, top_k=40, top_p=0.95, min_p=0.0, seed=5, presence_penalty=0.5,
        frequency_penalty=0.2, repetition_penalty=1.1,
    )  # fmt: skip
    alone, old, new = (bench(speculation=False) for _ in range(3))
    for one in (alone, old):
        one.ask("n", chat("Tell me a story."), n=3, sampling=drawn, max_tokens=ANSWER)
    alone.run()
    steps(old, 15)
    hand_over(old, new, tmp_path / "all")
    new.run()
    for index in range(3):
        moved = old.collector.text("n", index) + new.collector.text("n", index)
        assert moved == alone.collector.text("n", index)
    assert new.collector.usage("n").completion_tokens == 3 * ANSWER


def test_choices_that_ended_before_the_move_are_counted(bench: MakeBench, tmp_path: Path) -> None:
    old, new = bench(), bench()
    stop = "."
    old.ask(
        "n", chat("Who are you?"), n=4, sampling=Sampling(temperature=1.0, seed=1),
        stop=(stop,), max_tokens=80,
    )  # fmt: skip
    while not any(chunk.finish for chunk in old.collector.chunks.get("n", ())):
        step(old)
    hand_over(old, new, tmp_path / "all")
    new.run()
    chunks = old.collector.chunks["n"] + new.collector.chunks["n"]
    assert sorted(chunk.index for chunk in chunks if chunk.finish) == [0, 1, 2, 3]
    assert sum(chunk.usage is not None for chunk in chunks) == 1


def test_stop_string_and_probabilities_go_across(bench: MakeBench, tmp_path: Path) -> None:
    alone = bench()
    alone.ask("free", chat("Who are you?"), max_tokens=30)
    text = alone.run().text("free")
    stop = text[20:27]
    alone.ask("cut", chat("Who are you?"), max_tokens=30, stop=(stop,), logprobs=2)
    entries = [e.token for c in alone.run().chunks["cut"] for e in c.logprobs]
    for count in (4, 6, 7, 8):  # somewhere in there the stop string is half said
        old, new = bench(), bench()
        old.ask(
            "cut", chat("Who are you?"), max_tokens=30, stop=(stop,), logprobs=2, sampling=GREEDY
        )
        steps_while_busy(old, count)
        hand_over(old, new, tmp_path / "all")
        chunks = old.collector.chunks["cut"] + new.run().chunks.get("cut", [])
        assert "".join(chunk.text for chunk in chunks) == alone.collector.text("cut")
        assert [e.token for c in chunks for e in c.logprobs] == entries
        assert chunks[-1].finish == "stop"


def test_grammar_goes_on_where_it_was(bench: MakeBench, tmp_path: Path) -> None:
    form = OutputFormat(kind="regex", grammar="[a-e]{6} [0-9]{6} (yes|no)!")
    request = GenerateRequest(
        request_id="g", model="m", prompt=TextPrompt(chat("Hello!")), format=form, max_tokens=60,
        sampling=Sampling(temperature=0.7, seed=3),
    )  # fmt: skip

    def begin() -> Bench:
        made = bench()
        Heard(made)
        assert made.engine.intake
        made.orders.arrivals.put(made.engine.intake.prepare(Generate(request)))
        return made

    alone, old, new = begin(), begin(), bench()
    expected = alone.run().text("g")
    steps(old, 6)
    hand_over(old, new, tmp_path / "all")
    assert old.collector.text("g") + new.run().text("g") == expected
    assert expected.endswith("!")


def test_prompt_that_is_being_read_is_read_on(bench: MakeBench, tmp_path: Path) -> None:
    prompt = chat("Hello!", SYSTEM)
    alone = one_at_a_time(bench(retained=0), [prompt], 12)
    old, new = bench(chunk=64), bench(chunk=64)
    old.ask("long", prompt, max_tokens=12, sampling=GREEDY)
    steps(old, 2)
    sequence = old.engine._batcher.running[0]
    assert 0 < sequence.computed < sequence.prompt_length
    assert hand_over(old, new, tmp_path / "all").restored == 1
    assert_same_but_for_close_calls([new.run().text("long")], alone)


def test_given_up_during_the_move_is_gone_in_both(bench: MakeBench, tmp_path: Path) -> None:
    old, new = bench(), bench()
    ask_all(old)
    steps(old, 5)
    order(new, Abort("r0"))
    assert hand_over(old, new, tmp_path / "all").sequences == 7
    new.run()
    assert "r0" not in new.collector.chunks


@pytest.mark.parametrize("damage", ["torn", "foreign", "head", "missing"])
def test_damaged_file_is_refused_and_nothing_is_half_done(
    bench: MakeBench, tmp_path: Path, damage: str
) -> None:
    old, new = bench(), bench()
    ask_all(old)
    steps(old, 5)
    path = tmp_path / "all"
    hand_over(old, bench(), path)
    whole = path.read_bytes()
    match damage:
        case "torn":
            path.write_bytes(whole[:-10])
        case "foreign":
            path.write_bytes(b"something else entirely")
        case "head":
            path.write_bytes(whole[:40] + b"\xff" * 40 + whole[80:])
        case _:
            path.unlink()
    heard = Heard(new)
    order(new, TakeOver(str(path)))
    report = heard.last(TakenOver)
    assert isinstance(report, TakenOver)
    assert report.error
    assert not new.engine._batcher.busy


def test_whole_states_are_handed_over_too(whole_state_model: Model, tmp_path: Path) -> None:
    made = [_whole(whole_state_model) for _ in range(4)]
    alone, old, new, moved = made
    try:
        for one in (alone, old, moved):
            ask_all(one)
        alone.run()
        steps(old, 12)
        assert hand_over(old, new, tmp_path / "all").restored == 8
        new.run()
        assert texts(old, new) == texts(alone)
        steps(moved, 12)
        Heard(moved)
        order(moved, Move(structs.replace(moved.plan, cells=8192)))
        moved.run()
        assert texts(moved) == texts(alone)
    finally:
        for one in made:
            one.close()


# In the middle of an answer whose tokens are known.


@pytest.mark.parametrize(
    "form", [OutputFormat(), OutputFormat(kind="regex", grammar="[a-e]{6} [0-9]{6} (yes|no)!")]
)
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_answer_with_known_tokens_goes_on_exactly(
    bench: MakeBench, form: OutputFormat, temperature: float
) -> None:
    request = GenerateRequest(
        request_id="whole", model="m", prompt=TextPrompt(chat("Hello!")), format=form,
        max_tokens=24, sampling=Sampling(temperature=temperature, seed=3, presence_penalty=0.3),
        ignore_eos=form.kind == "text",
    )  # fmt: skip
    made = bench(speculation=False, retained=0)
    Heard(made)
    intake = made.engine.intake
    assert intake
    whole = intake.prepare(Generate(request))
    assert isinstance(whole, Prepared)
    made.orders.arrivals.put(whole)
    text = made.run().text("whole")
    sequence, vocabulary = whole.sequences[0], made.model.vocabulary
    for known in (1, 5, 9):
        tokens = tuple(sequence.tokens[sequence.prompt_length :][:known])
        partial = Partial(generated=known, tokens=tokens)
        rest = structs.replace(request, request_id=f"rest{known}", partial=partial)
        made.orders.arrivals.put(intake.prepare(Generate(rest)))
        made.run()
        assert text.endswith(made.collector.text(f"rest{known}"))
        usage, all_of_it = made.collector.usage(f"rest{known}"), made.collector.usage("whole")
        assert usage.completion_tokens == all_of_it.completion_tokens - known
        assert usage.prompt_tokens == all_of_it.prompt_tokens + known
        known_words = (token for token in tokens if token not in vocabulary.control)
        said = b"".join(map(vocabulary.piece, known_words)).decode()
        assert said + made.collector.text(f"rest{known}") == text


def test_several_answers_or_unknown_tokens_cannot_be_continued(bench: MakeBench) -> None:
    made = bench()
    Heard(made)
    assert made.engine.intake
    request = GenerateRequest(request_id="r", model="m", prompt=TextPrompt("Hello"))
    for wrong in (
        structs.replace(request, n=2, partial=Partial(generated=1, tokens=(5,))),
        structs.replace(request, partial=Partial(generated=1, tokens=(10**7,))),
        structs.replace(request, partial=Partial(generated=1, tokens=(5,) * 5000)),
    ):
        assert isinstance(made.engine.intake.prepare(Generate(wrong)), Failed)
