"""A draft model beside the target: the answers stay the same, and it costs next to nothing."""

from array import array
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest
from benchmarks.tiny import make
from tests.engine.conftest import MakeBench, builder
from tests.engine.harness import Bench

from ai_assistant.engine.drafts.account import MOST_STEPS, PROVEN, Account
from ai_assistant.engine.drafts.slots import Slots, agree
from ai_assistant.engine.kernels import Model
from ai_assistant.engine.sequence import Prepared, Sequence
from ai_assistant.engine.speculation.policy import MODEL
from ai_assistant.engine.speculation.rounds import another_round, choose_rounds
from ai_assistant.protocol.engine_plan import DraftPlan
from ai_assistant.protocol.frames import Abort, Ease
from ai_assistant.protocol.requests import Priority, Sampling

PROMPTS = [f"Tell me a story about number {index} and a boat." for index in range(5)]


class FixedPace:
    """Prices of steps that no measurement changes: a step of n tokens takes `one` and n - 1 times
    `more`."""

    def __init__(self, one: float, more: float) -> None:
        self.one, self.more = one, more

    def seconds(self, tokens: int) -> float:
        return self.one + self.more * (tokens - 1)

    def tokens_within(self, seconds: float) -> int:
        return max(1, int((seconds - self.one) / self.more))

    def observe(self, tokens: int, seconds: float, disturbed: bool = False) -> None: ...

    def use(self, decode: int, prefill: int) -> None: ...


def drafted(path: Path, *, cells: int = 2048, slots: int = 4) -> DraftPlan:
    return DraftPlan(model_path=str(path), cells=cells, slots=slots)


def priced(bench: Bench, *, draft: float = 0.05) -> Bench:
    """As on a machine whose steps wait for memory, so that drafting pays if it is right."""
    drafting = bench.engine._parts.guesses.drafting
    assert drafting
    assert drafting._model
    bench.engine._parts.guesses._pace = FixedPace(1.0, 0.01)
    drafting._model.times = FixedPace(draft, draft / 50)
    return bench


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Model, Path]]:
    """A small model with random weights."""
    path = make("tiny", tmp_path_factory.mktemp("drafts") / "target.gguf", seed=1)
    model = Model(str(path), gpu_layers=0)
    yield model, path
    model.close()


@pytest.fixture
def tiny(other: tuple[Model, Path]) -> Iterator[MakeBench]:
    # A GPU adds up in another order, and gets only steps that happen to be large.
    yield from builder(*other, op_offload=False)


def hopeless(folder: Path) -> Path:
    """The same tokens, other weights."""
    return make("tiny", folder / "hopeless.gguf", seed=7)


def ask_all(bench: Bench, *, max_tokens: int = 40, sampling: Sampling | None = None) -> None:
    for index, prompt in enumerate(PROMPTS):
        bench.ask(str(index), prompt, max_tokens=max_tokens, sampling=sampling)


def steps(bench: Bench, count: int) -> None:
    """A part of what the loop does."""
    for _ in range(count):
        bench.engine.accept()
        parts = bench.engine._batcher.next()
        if parts and bench.engine.stepping.decode(parts):
            bench.engine.stepping.commit(parts)


def texts(bench: Bench) -> list[str]:
    said = bench.run()
    return [said.text(name) for name in sorted(said.chunks)]


def test_greedy_answers_with_a_draft_are_those_without(
    tiny: MakeBench, other: tuple[Model, Path]
) -> None:
    plain, helped = tiny(), priced(tiny(draft=drafted(other[1])))
    for one in (plain, helped):
        ask_all(one, max_tokens=80)
    assert texts(helped) == texts(plain)
    status = helped.engine.status()
    assert status.drafted_from_model > 50
    assert 0 < status.draft_seconds < 60


def test_drawn_answers_are_the_models_own(tiny: MakeBench, other: tuple[Model, Path]) -> None:
    """With the same numbers drawn, the same tokens, but for draws on the edge between two tokens:
    weights are random, and so many tokens are equally likely that rounding decides some."""
    plain, helped = tiny(slots=1), priced(tiny(slots=1, draft=drafted(other[1])))
    for one in (plain, helped):
        for seed in range(60):
            sampling = Sampling(temperature=1.0, top_k=4, seed=seed)
            one.ask(f"{seed:02}", PROMPTS[seed % 5], max_tokens=24, sampling=sampling)
    pairs = list(zip(texts(helped), texts(plain), strict=True))
    assert len({text for text, _ in pairs}) > 30
    assert sum(mine == honest for mine, honest in pairs) >= 54
    assert helped.engine.status().drafted_from_model > 100


def test_model_that_drafts_for_itself_is_right_and_saves_steps(
    tiny: MakeBench, other: tuple[Model, Path]
):
    plain, helped = tiny(), priced(tiny(draft=drafted(other[1], slots=8)))
    for one in (plain, helped):
        ask_all(one, max_tokens=64)
        one.run()
    without, status = plain.engine.status(), helped.engine.status()
    assert status.accepted_from_model / status.drafted_from_model > 0.97
    assert status.generated_tokens == without.generated_tokens
    assert status.steps < without.steps / 4


def test_hopeless_draft_switches_itself_off(tiny: MakeBench, tmp_path: Path):
    plain = tiny(speculation=False)
    helped = priced(tiny(draft=drafted(hopeless(tmp_path))), draft=0.3)
    for one in (plain, helped):
        one.ask("0", PROMPTS[0], max_tokens=900)
    assert texts(helped) == texts(plain)
    guesses = helped.engine._parts.guesses
    assert guesses.drafting
    # In steps of one token: what drafts and their verification may cost.
    assert helped.engine.status().drafted_from_model < 40
    assert guesses.drafting.account.observed < 100
    cost = MOST_STEPS - (guesses.drafting.account.credit or 0) + 0.01 * 900
    assert cost < 0.03 * 900


def test_draft_that_became_good_is_noticed(tiny: MakeBench, other: tuple[Model, Path]):
    helped = priced(tiny(draft=drafted(other[1])))
    for _ in range(60):
        helped.engine._parts.guesses._tenants._everybody.observe(MODEL, False)
    for index in range(3):
        helped.ask(str(index), PROMPTS[index], max_tokens=400)
        helped.run()
    status = helped.engine.status()
    assert status.accepted_from_model > 200


def test_more_streams_than_places_and_few_cells(tiny: MakeBench, other: tuple[Model, Path]):
    plain = tiny()
    helped = priced(tiny(draft=drafted(other[1], cells=512, slots=2)))
    for one in (plain, helped):
        for turn in range(3):
            for index, prompt in enumerate(PROMPTS):
                one.ask(f"{turn}{index}", f"{prompt} Turn {turn}.", max_tokens=50)
    assert texts(helped) == texts(plain)
    assert helped.engine.status().draft_bytes


def test_cancelled_in_the_middle_the_others_go_on(tiny: MakeBench, other: tuple[Model, Path]):
    plain, helped = tiny(), priced(tiny(draft=drafted(other[1], slots=2)))
    for one in (plain, helped):
        ask_all(one)
        steps(one, 4)
        one.orders.arrivals.put(Abort("1"))
        one.ask("later", PROMPTS[1], max_tokens=40)
    assert [texts(helped)[n] for n in (0, 2, 3, 4, 5)] == [texts(plain)[n] for n in (0, 2, 3, 4, 5)]


def test_parked_and_resumed_answers_are_the_same(tiny: MakeBench, other: tuple[Model, Path]):
    sizes = {"slots": 2, "cells": 1024, "context_limit": 512, "retained": 2}
    plain, helped = tiny(**sizes), priced(tiny(draft=drafted(other[1]), **sizes))
    for one in (plain, helped):
        for index in range(2):
            one.ask(f"low {index}", PROMPTS[index], max_tokens=200, priority=Priority.BATCH)
        steps(one, 4)
        for index in range(2):
            one.ask(f"high {index}", PROMPTS[2 + index], max_tokens=60)
    assert texts(helped) == texts(plain)
    assert helped.engine.status().preemptions > 0


def test_prompt_is_read_in_pieces_and_only_while_its_answer_is_written(
    tiny: MakeBench, other: tuple[Model, Path]
):
    helped = priced(tiny(draft=drafted(other[1])))
    drafting = helped.engine._parts.guesses.drafting
    assert drafting
    assert drafting._model
    read: list[int] = []
    computed = drafting._model._compute

    def watched(**options: bool) -> float:
        running = helped.engine._batcher.running
        assert all(one.generated for one in running)
        read.append(drafting._model._context.batch.size)  # type: ignore[union-attr]
        return computed(**options)

    drafting._model._compute = watched  # type: ignore[method-assign]
    helped.ask("0", list(range(20, 620)) + list(range(30, 330)), max_tokens=60)
    helped.run()
    assert sum(read) > 900
    assert max(read) <= 256
    assert helped.engine.status().accepted_from_model > 20


def test_next_turn_finds_what_the_draft_has_read(tiny: MakeBench, other: tuple[Model, Path]):
    helped = priced(tiny(draft=drafted(other[1])))
    first = list(range(20, 520))
    helped.ask("0", first, max_tokens=40)
    helped.run()
    drafting = helped.engine._parts.guesses.drafting
    assert drafting
    assert drafting._model
    slot = max(drafting._model.slots.slots, key=lambda one: len(one.tokens))
    held = len(slot.tokens)
    assert held > 500
    helped.ask("1", [*first, *range(600, 620)], max_tokens=10)
    helped.run()
    assert list(slot.tokens[:500]) == first


def test_draft_is_the_first_to_go_and_nobody_notices(tiny: MakeBench, other: tuple[Model, Path]):
    plain, helped = tiny(), priced(tiny(draft=drafted(other[1])))
    for one in (plain, helped):
        ask_all(one)
    steps(helped, 4)
    assert helped.engine.status().draft_bytes
    helped.orders.arrivals.put(Ease(helped.plan.warm_bytes))
    assert texts(helped) == texts(plain)
    assert helped.engine.status().draft_bytes == 0


@pytest.mark.parametrize("kind", ["missing", "torn", "recurrent", "other tokens"])
def test_draft_that_cannot_be_used_is_a_warning(
    bench: MakeBench, tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str
):
    path = tmp_path / "draft.gguf"
    if kind == "torn":
        path.write_bytes(b"GGUF" + bytes(100))
    elif kind == "recurrent":
        make("tiny-recurrent", path)
    elif kind == "other tokens":
        make("tiny", path)
    one = bench(draft=drafted(path))
    assert "is not used" in capfd.readouterr().err
    one.ask("0", PROMPTS[0], max_tokens=4)
    assert one.run().text("0")
    assert one.engine.status().draft_bytes == 0


def test_kernels_that_fail_while_drafting_end_the_draft_only(
    tiny: MakeBench, other: tuple[Model, Path]
):
    plain, helped = tiny(), priced(tiny(draft=drafted(other[1])))
    drafting = helped.engine._parts.guesses.drafting
    assert drafting
    assert drafting._model

    def broken(**_: bool) -> float:
        raise RuntimeError("the kernels failed")

    drafting._model._compute = broken  # type: ignore[method-assign]
    for one in (plain, helped):
        ask_all(one)
    assert texts(helped) == texts(plain)
    assert drafting.bytes == 0


# Decisions.


def test_rounds_follow_what_they_cost_and_bring():
    def flat(tokens: int) -> float:
        return 1 + 0.01 * tokens

    def steep(tokens: int) -> float:
        return 0.65 + 0.35 * tokens

    assert choose_rounds([0.9], 1, flat, lambda _: 0.05, 64).rounds > 5
    assert choose_rounds([0.3], 1, flat, lambda _: 0.5, 64).rounds == 0
    assert choose_rounds([0.6], 1, steep, lambda _: 0.25, 64).rounds == 0
    assert choose_rounds([0.9], 1, steep, lambda _: 0.05, 64).rounds > 0
    assert choose_rounds([0.9] * 4, 4, flat, lambda _: 0.05, 3).rounds == 0
    assert choose_rounds([], 1, flat, lambda _: 0.05, 64).rounds == 0
    few = choose_rounds([0.6], 1, flat, lambda _: 0.05, 64)
    many = choose_rounds([0.9], 1, flat, lambda _: 0.05, 64)
    assert 0 < few.gain < many.gain < flat(1)


def test_a_sure_draft_goes_on_and_an_unsure_one_stops():
    assert another_round(2.0, 1.0, [0.9], [0.8], 0.1)
    assert not another_round(2.0, 1.0, [0.1], [0.6], 0.1)
    assert not another_round(2.0, 1.0, [], [], 0.1)


def test_account_bounds_what_a_bad_draft_costs():
    account = Account()
    spent, steps = 0.0, 10_000
    for _ in range(steps):
        account.worked(1.0, 1.0)
        if account.solvent:
            account.spent(0.5)
            spent += 0.5
    assert spent <= MOST_STEPS + 0.5 + 0.01 * steps


def test_long_sequence_is_read_only_where_that_comes_back():
    account = Account()
    account.worked(1.0, 1.0)
    assert account.worth(5.0, 0.0, 0, 100)
    assert not account.worth(20.0, 0.5, 0, 1000)
    account.observed = PROVEN
    assert account.worth(20.0, 0.5, 0, 1000)
    assert not account.worth(20.0, 0.5, 0, 30)
    assert not account.worth(200.0, 0.5, 10, 1000)
    assert account.worth(200.0, 0.5, 500, 1000)


def _next(bench: Bench) -> Sequence:
    arrival = bench.orders.arrivals.get()
    assert isinstance(arrival, Prepared)
    return arrival.sequences[0]


def test_places_are_kept_by_those_that_run(tiny: MakeBench):
    one = tiny()
    for index in range(3):
        one.ask(str(index), [10 + index] * 30, max_tokens=4)
    sequences = [_next(one) for _ in range(3)]
    slots = Slots(2, 512)
    for number, sequence in enumerate(sequences[:2]):
        sequence.slot = number
        slot = slots.take(sequence)
        assert slot
        assert slots.of(sequence) is slot
        slot.tokens.extend(sequence.tokens)
        assert agree(slot, sequence) == 29
    assert slots.take(sequences[2]) is None
    assert slots.crowding(2000) is None
    sequences[0].slot = -1
    found = slots.take(sequences[2])
    assert found
    assert agree(found, sequences[2]) == 0
    assert found.tokens == array("i", [10] * 30)


def test_padded_vocabulary_never_leaves_the_targets(tmp_path: Path, tiny: MakeBench):
    """A draft whose vocabulary is filled up says only tokens that the target has."""
    path = tmp_path / "padded.gguf"
    _pad(make("tiny", tmp_path / "plain.gguf", seed=1), path, 64)
    helped = priced(tiny(draft=drafted(path)))
    plain = tiny()
    for one in (plain, helped):
        ask_all(one)
    assert texts(helped) == texts(plain)
    assert helped.engine.status().accepted_from_model > 20


def _pad(source: Path, target: Path, more: int) -> None:
    """The same model with more tokens at the end, which shout."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        value = field.contents()
        if field.name == "tokenizer.ggml.tokens":
            value = [*value, *(f"[PAD{index}]" for index in range(more))]
        elif field.name == "tokenizer.ggml.token_type":
            value = [*value, *([5] * more)]
        if isinstance(value, list):
            writer.add_array(field.name, value)
        else:
            writer.add_key_value(field.name, value, field.types[0])
    for tensor in reader.tensors:
        data = np.array(tensor.data)
        if tensor.name in ("token_embd.weight", "output.weight"):
            data = np.concatenate([data, np.full((more, data.shape[1]), 9.0, data.dtype)])
        writer.add_tensor(tensor.name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
