"""Predictions add up what was measured, and the best layout that fits is found. No kernels."""

from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.devices.layout_tools import (
    ALONE,
    BOTH,
    CPU,
    GIGABYTE,
    GPU,
    MIXTURE,
    TWO,
    anatomy,
    device,
)

from ai_assistant.devices.layout.costs import STEPS, Curve, cases, costs, stand_ins
from ai_assistant.devices.layout.predict import (
    Bench,
    Factors,
    Layout,
    split,
    step,
    tpot,
    ttft,
)
from ai_assistant.devices.layout.room import Limits, Needs, estimated, memory
from ai_assistant.devices.layout.search import TURNS, Wanted, best
from ai_assistant.devices.layout.words import reasons, refusal, smaller_weights, terms, where
from ai_assistant.protocol.layout import Case, Timed, TrialReport

ROOMY = Limits(ram=64 * GIGABYTE, gpus=(24 * GIGABYTE,))
NEEDS = Needs(ram=0, gpu=0)


@dataclass(frozen=True)
class Truth:
    """Seconds that stand-ins are made to take."""

    layer: float
    outside: float
    looking: float
    others: float = 0.0

    def report(self, layers: int) -> TrialReport:
        def seconds(case: Case) -> float:
            foreign = case.depth * (case.streams - 1) * self.others
            each = self.layer + self.looking * case.depth + foreign
            return case.tokens * (self.outside + layers * each)

        times = tuple(Timed(case, seconds(case)) for case in cases(512))
        memory = {"compute/CPU": 77, "weights/CPU": 5, "kv/CUDA0": 10, "taken/CUDA0": 110}
        return TrialReport(times=times, memory=memory)


def test_costs_of_a_layer_come_from_the_difference_of_two_stand_ins() -> None:
    truth = Truth(3e-3, 5e-3, 1e-6, 1e-7)
    found = costs(truth.report(4), truth.report(12), (4, 12), "CPU")
    assert found.layer.at(1) == pytest.approx(3e-3)
    assert found.layer.at(100) == pytest.approx(0.3)
    assert found.outside.at(1) == pytest.approx(5e-3)
    for tokens in (1, 16, 512):
        assert found.attention.at(tokens, 3000) == pytest.approx(3e-3)
    assert found.attention.at(16, 100, streams=16) == pytest.approx(100 * 1e-6 + 1500 * 1e-7)
    assert found.compute_bytes == 77
    assert costs(truth.report(4), truth.report(12), (4, 12), "CUDA0").other_bytes == 100


@example(1, 4, 3.0)
@given(st.sampled_from([1, 2, 4, 8, 16]), st.sampled_from([4, 12]), st.floats(1.5, 100))
def test_one_step_that_others_held_up_makes_no_layer_free_or_endless(
    tokens: int, layers: int, factor: float
) -> None:
    """Seen on a GPU's host: a step of four tokens of the shorter stand-in had taken so long that
    the layers seemed to cost nothing, and a node moved a model off its GPU for it."""
    truth = Truth(3e-3, 1e-3, 0)

    def report(count: int) -> TrialReport:
        times = tuple(
            Timed(one.case, one.seconds * (factor if (one.case, count) == (held_up, layers) else 1))
            for one in truth.report(count).times
        )
        return TrialReport(times=times)

    held_up = Case(tokens)
    found = costs(report(4), report(12), (4, 12), "CPU")
    for count in (1, 2, 4, 8, 16, 32):
        predicted = 32 * found.layer.at(count) + found.outside.at(count)
        right = count * (32 * 3e-3 + 1e-3)
        # A step that takes twice what it should could as well be one of twice the tokens.
        assert 0.45 * right < predicted < 3.3 * right, count


@pytest.mark.parametrize("fetched", [0.1, 3.0])
def test_steps_that_a_gpu_computes_say_nothing_of_those_that_the_processor_does(
    fetched: float,
) -> None:
    """From 32 tokens on a GPU fetches the weights: seen on an H200, a step of 32 took five times
    one of 8 where they lie in pages that a driver copies, less than one of 16 elsewhere."""

    def report(layers: int) -> TrialReport:
        each = {count: 1e-3 * count if count < 32 else fetched * 16e-3 for count in STEPS[:8]}
        times = tuple(Timed(Case(count), layers * each[count]) for count in each)
        return TrialReport(times=times, memory={"compute/CPU": 1, "compute/CUDA0": 1})

    found = costs(report(4), report(12), (4, 12), "CPU")
    assert found.layer.at(16) == pytest.approx(16e-3)
    assert found.layer.at(32) == pytest.approx(fetched * 16e-3)


def test_what_the_last_layer_leaves_out_is_not_counted_for_every_model_size() -> None:
    def report(layers: int) -> TrialReport:
        """A prompt's last layer computes a tenth: its attention, and the rest for one token."""
        times = (Timed(Case(1), layers * 1e-3), Timed(Case(512), 512e-3 * (layers - 0.9)))
        return TrialReport(times=times)

    found = costs(report(2), report(6), (2, 6), "CPU")
    assert 24 * found.layer.at(512) + found.outside.at(512) == pytest.approx(512e-3 * 23.1)
    assert 24 * found.layer.at(1) + found.outside.at(1) == pytest.approx(24e-3)


def test_stand_in_that_a_cache_holds_does_not_make_layers_dear() -> None:
    def report(seconds: float) -> TrialReport:
        return TrialReport(times=(Timed(Case(1), seconds), Timed(Case(64), 10 * seconds)))

    found = costs(report(1e-3), report(5e-3), (5, 10), "CPU")
    for tokens, seconds in ((1, 5e-3), (64, 50e-3)):
        assert 10 * found.layer.at(tokens) + found.outside.at(tokens) == pytest.approx(seconds)
    assert found.outside.at(1) == 0


def test_rows_of_logits_cost_the_same_at_any_depth() -> None:
    truth = Truth(3e-3, 5e-3, 1e-6)
    plain = truth.report(4)
    rows = [one if one.case.streams == 1 else Timed(one.case, one.seconds + 15 * 7e-3)
            for one in plain.times]  # fmt: skip
    found = costs(TrialReport(times=tuple(rows)), truth.report(12), (4, 12), "CPU")
    assert found.rows == pytest.approx(7e-3)
    assert found.attention.others == pytest.approx(0, abs=1e-12)


def test_looking_back_is_a_straight_line_on_a_processor() -> None:
    sizes = {case.tokens for case in cases(512, straight=True) if case.depth}
    assert sizes == {1, 16, 128}
    times = (Timed(Case(1), 1.0), Timed(Case(1, 512), 1.9), Timed(Case(1, 2048), 3.0))
    found = costs(
        TrialReport(times=times), TrialReport(times=(Timed(Case(1), 2.0),)), (1, 2), "CPU"
    )
    assert found.attention.at(1, 2048) == pytest.approx(2 * found.attention.at(1, 1024))
    assert found.attention.at(1, 2048) == pytest.approx(2.0, rel=0.1)


def test_a_gpu_fetches_the_cache_once_for_a_step_however_large() -> None:
    """Seen on an H100: what a piece of 128 tokens took to look back, pieces of 512 took as well."""
    sizes = {case.tokens for case in cases(2048, straight=True, beside_gpu=True) if case.depth}
    assert sizes == {1, 16, 512}
    times = (Timed(Case(1), 1.0), Timed(Case(1, 2048), 3.0),
             Timed(Case(512), 10.0), Timed(Case(512, 2048), 18.0))  # fmt: skip
    none = TrialReport(times=(Timed(Case(1), 2.0), Timed(Case(512), 20.0)))

    def looking_back(tokens: int, memory: dict[str, int]) -> float:
        found = costs(TrialReport(times=times, memory=memory), none, (1, 2), "CPU")
        return tokens * found.attention.at(tokens, 2048)

    here = {"compute/CPU": 100, "compute/CUDA_Host": 100, "compute/CUDA0": 0}
    there = here | {"compute/CUDA0": 100}
    for taken, larger in ((here, 32.0), (there, 8.0)):
        assert looking_back(1, taken) == pytest.approx(2.0)
        assert looking_back(512, taken) == pytest.approx(8.0)
        assert looking_back(2048, taken) == pytest.approx(larger)


def test_noise_never_makes_a_cost_negative() -> None:
    short, long = Truth(3e-3, 5e-3, 0).report(4), Truth(1e-3, 1e-3, 0).report(12)
    found = costs(short, long, (4, 12), "CPU")
    assert found.layer.at(1) >= 0
    assert found.outside.at(1) >= 0
    assert found.layer.at(512) + found.outside.at(512) >= 0
    assert found.attention.at(1, 500) >= 0


@given(st.lists(st.integers(1, 3 << 30), min_size=2, max_size=130))
def test_stand_ins_differ_and_are_no_larger_than_the_model(sizes: list[int]) -> None:
    short, long = stand_ins(sizes)
    assert 0 < short < long <= len(sizes)


def test_stand_ins_of_small_layers_are_larger_than_a_cache() -> None:
    short, long = stand_ins([16 << 20] * 24)
    assert (long - short) * (16 << 20) >= 192 << 20


@given(st.integers(16, 2048), st.integers(0, 4096))
def test_no_step_is_longer_than_the_chunk_or_deeper_than_the_model(
    chunk: int, context: int
) -> None:
    for case in cases(chunk, context):
        assert case.tokens <= chunk
        assert not context or not case.depth or case.depth + case.tokens <= context


@given(st.integers(1, 2000))
def test_curve_goes_through_what_was_measured(tokens: int) -> None:
    curve = Curve((1, 8, 512), (1.0, 2.0, 40.0))
    assert curve.at(8) == 2.0
    assert curve.at(tokens) <= curve.at(tokens + 1)


def test_step_is_the_sum_of_its_terms() -> None:
    half = Layout(gpu_layers=17, threads=8)
    found = step(anatomy(), BOTH, half, 1, 1000)
    assert found.cpu_layers == pytest.approx(16 * 2e-3)
    assert found.gpu_layers == pytest.approx(16 * 1e-4)
    assert found.outside == pytest.approx(1e-4)
    assert found.crossing == pytest.approx(2e-4)
    assert found.attention == pytest.approx(32 * 1000 * 1e-9)
    assert found.total == pytest.approx(tpot(anatomy(), BOTH, half, 1, 1000))


def test_factors_correct_each_term() -> None:
    half = Layout(gpu_layers=17, threads=8)
    plain = step(anatomy(), BOTH, half, 1, 1000)
    found = step(anatomy(), BOTH, half, 1, 1000, factors=Factors(cpu_layers=1.5, attention=0.5))
    assert found.cpu_layers == pytest.approx(1.5 * plain.cpu_layers)
    assert found.attention == pytest.approx(0.5 * plain.attention)
    assert found.gpu_layers == plain.gpu_layers


@given(st.integers(0, 40), st.integers(0, 40), st.lists(st.integers(0, 40), max_size=3))
def test_every_layer_is_somewhere_once(gpu_layers: int, apart: int, shares: list[int]) -> None:
    layout = Layout(gpu_layers=gpu_layers, feeds_on_cpu=apart, on_gpus=tuple(shares), threads=1)
    found = split(anatomy(), layout)
    assert found.cpu + sum(found.gpus) == 32
    assert 0 <= found.mixed <= sum(found.gpus)


def test_cached_beginning_costs_nothing_but_attention() -> None:
    layout = Layout(gpu_layers=0, threads=8)
    whole = ttft(anatomy(), BOTH, layout, 2000)
    rest = ttft(anatomy(), BOTH, layout, 2000, known=1500)
    assert rest < whole / 3
    assert ttft(anatomy(), BOTH, layout, 2000, known=2000) > 0


def test_memory_is_where_the_layers_are() -> None:
    none = memory(anatomy(), Layout(gpu_layers=0, threads=8), NEEDS)
    half = memory(anatomy(), Layout(gpu_layers=17, threads=8), NEEDS)
    every = memory(anatomy(), Layout(gpu_layers=33, threads=8), NEEDS)
    apart = memory(anatomy(), Layout(gpu_layers=33, feeds_on_cpu=32, threads=8), NEEDS)
    assert none.gpu == 0
    assert half.ram < none.ram
    assert every.ram == 80_000_000
    assert every.gpu > anatomy().weights - 80_000_000
    assert half.gpu < every.gpu
    assert apart.ram - every.ram == every.gpu - apart.gpu == 32 * 90_000_000


def test_all_on_the_gpu_where_it_fits() -> None:
    found = best(anatomy(), {"f16": BOTH}, ROOMY, "chat", Wanted())
    assert found[0].layout.gpu_layers == 33
    assert where(anatomy(), found[0].layout) == "all on the GPU"


@given(st.integers(0, 6 * GIGABYTE), st.sampled_from(sorted(TURNS)))
def test_best_fits_and_nothing_that_fits_is_quicker(gpu: int, workload: str) -> None:
    limits = Limits(ram=64 * GIGABYTE, gpus=(gpu,))
    found = best(anatomy(), {"f16": BOTH}, limits, workload, Wanted())  # type: ignore[arg-type]
    assert all(limits.hold(one.memory) for one in found)
    assert found[0].turn <= 1.01 * min(one.turn for one in found)
    assert reasons(anatomy(), found, limits)


def test_gpu_that_is_slower_than_the_processor_stays_free() -> None:
    slow = Bench(cpu={8: CPU}, gpus=(device(5e-3, 5e-3),))
    found = best(anatomy(), {"f16": slow}, ROOMY, "chat", Wanted())
    assert found[0].layout.gpu_layers == 0


def test_fewer_threads_where_more_win_nothing() -> None:
    same = Bench(cpu={4: CPU, 8: CPU})
    found = best(anatomy(), {"f16": same}, Limits(ram=64 * GIGABYTE), "batch", Wanted())
    assert found[0].layout.threads == 4
    assert any("8 threads would take" in said for said in reasons(anatomy(), found, ROOMY))


def test_owners_numbers_are_the_only_ones_that_are_looked_at() -> None:
    wanted = Wanted(gpu_layers=5, threads=3)
    found = best(anatomy(), {"f16": BOTH}, ROOMY, "chat", wanted)
    assert {(one.layout.gpu_layers, one.layout.threads) for one in found} == {(5, 3)}


def test_experts_stay_in_main_memory_before_whole_layers_do() -> None:
    mixture = anatomy(experts=8)
    limits = Limits(ram=64 * GIGABYTE, gpus=(5 * GIGABYTE // 2,))
    found = best(mixture, {"f16": MIXTURE}, limits, "chat", Wanted())
    layout = found[0].layout
    assert layout.gpu_layers == 33
    assert 0 < layout.feeds_on_cpu < 32
    assert "the experts of" in where(mixture, layout)
    said = " ".join(reasons(mixture, found, limits))
    assert "With whole layers on the processor instead of their experts" in said


def test_quickest_of_two_gpus_is_filled_first() -> None:
    limits = Limits(ram=64 * GIGABYTE, gpus=(3 * GIGABYTE, 24 * GIGABYTE))
    layout = best(anatomy(), {"f16": TWO}, limits, "chat", Wanted())[0].layout
    assert layout.gpu_layers == 33
    first, second = layout.on_gpus
    assert first + second == 32
    assert first > 12
    assert "2 GPUs" in where(anatomy(), layout)


def test_longer_context_is_kept_where_it_costs_little() -> None:
    wanted = Wanted(cells=(16_384, 4096), kv_types=("f16", "q8_0"))
    benches = {"f16": BOTH, "q8_0": BOTH}
    roomy = best(anatomy(), benches, ROOMY, "chat", wanted)[0].layout
    assert (roomy.cells, roomy.kv_type) == (16_384, "f16")
    tight = Limits(ram=64 * GIGABYTE, gpus=(5_500_000_000,))
    found = best(anatomy(), benches, tight, "chat", wanted)[0].layout
    assert found.gpu_layers == 33
    assert found.cells == 4096 or found.kv_type == "q8_0"


def test_what_does_not_fit_is_refused_with_the_nearest_that_would() -> None:
    small = Limits(ram=GIGABYTE)
    assert best(anatomy(), {"f16": ALONE}, small, "chat", Wanted()) == []
    layout = Layout(gpu_layers=0, threads=8, cells=4096)
    need = memory(anatomy(), layout, NEEDS)
    said = refusal(anatomy(), small, layout, need, smaller_weights(anatomy()))
    assert "4.6 GB of memory" in said
    assert "1.0 GB are free" in said
    half = Limits(ram=int(3.9 * GIGABYTE))
    said = refusal(anatomy(), half, layout, need, smaller_weights(anatomy()))
    assert "as Q2_K they would be about" in said
    tight = Limits(ram=need.ram - 100_000_000)
    assert "With --context" in refusal(anatomy(), tight, layout, need, {})


def test_terms_are_said_in_words() -> None:
    limits = Limits(ram=64 * GIGABYTE, gpus=(2 * GIGABYTE,))
    found = best(anatomy(), {"f16": BOTH}, limits, "chat", Wanted())
    said = terms(anatomy(), BOTH, found[0], "chat")
    assert sum(token for _, token, _ in said) == pytest.approx(found[0].tpot)
    assert "of 32 layers on the GPU" in where(anatomy(), found[0].layout)


def test_estimate_is_no_less_than_a_layer_and_its_step() -> None:
    needs = estimated(anatomy(), 2048)
    assert needs.ram > needs.gpu > 2048 * 4 * anatomy().feed
    assert needs.fixed > 120_000_000 + (512 << 20)


def test_what_a_driver_takes_and_what_stays_free_is_the_same_for_small_steps() -> None:
    needs = Needs(ram=0, gpu=400_000_000, fixed=300_000_000, chunk=2048)
    layout = Layout(gpu_layers=33, threads=8, chunk=512, cells=4096)
    bare = memory(anatomy(), layout, NEEDS).gpu
    assert memory(anatomy(), layout, needs).gpu - bare == 400_000_000 // 4 + 300_000_000


def test_streams_cost_more_where_they_have_to_look_past_each_other() -> None:
    layout = Layout(gpu_layers=33, threads=8)
    crowd = Bench(
        cpu={8: CPU},
        gpus=(
            costs(
                Truth(1e-4, 1e-4, 1e-8, 1e-8).report(4),
                Truth(1e-4, 1e-4, 1e-8, 1e-8).report(12),
                (4, 12),
                "CPU",
            ),
        ),
    )
    assert tpot(anatomy(), crowd, layout, 16, 1000) > 16 * tpot(anatomy(), crowd, layout, 1, 1000)
    assert GPU.attention.others == 0
