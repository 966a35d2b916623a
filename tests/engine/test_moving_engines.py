"""A conversation is moved into another engine while it is speaking. What it says is what it would
have said, no token lost or double."""

from pathlib import Path

import pytest
from msgspec import structs
from tests.engine.conftest import MakeBench
from tests.engine.harness import Bench
from tests.engine.moving_tools import (
    ANSWER,
    GREEDY,
    Heard,
    ask_all,
    order,
    steps,
    steps_while_busy,
    texts,
    unmoved,
)
from tests.engine.test_engine import (
    QUESTIONS,
    SYSTEM,
    assert_same_but_for_close_calls,
    chat,
    one_at_a_time,
    step,
)

from ai_assistant.engine.handover import leave
from ai_assistant.engine.identity import fingerprint
from ai_assistant.engine.kernels import Model
from ai_assistant.protocol.frames import (
    Abort,
    Generate,
    HandedOver,
    HandOver,
    Move,
    Resume,
    TakenOver,
    TakeOver,
)
from ai_assistant.protocol.requests import GenerateRequest, OutputFormat, Sampling, TextPrompt
from ai_assistant.store.models import starter_path


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
