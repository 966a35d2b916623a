"""Predictions add up what was measured, and the best layout that fits is found. No kernels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_assistant.devices.layout.costs import CASES, DEPTH, Costs, Curve, costs, stand_ins
from ai_assistant.devices.layout.predict import Bench, Layout, memory, step, tpot, ttft
from ai_assistant.devices.layout.search import TURNS, Limits, best
from ai_assistant.devices.layout.words import reasons, refusal, terms, where
from ai_assistant.protocol.layout import Case, LayerPart, ModelAnatomy, Timed, TrialReport

GIGABYTE = 10**9


def anatomy(layers: int = 32, size: int = 120_000_000) -> ModelAnatomy:
    return ModelAnatomy(
        architecture="llama",
        width=4096,
        heads=32,
        layers=tuple(LayerPart(bytes=size) for _ in range(layers)),
        embedding=LayerPart(bytes=80_000_000),
        output=LayerPart(bytes=100_000_000),
        kv_bytes_per_token_layer=4096,
    )


def device(layer: float, outside: float, *, compute: int = 0) -> Costs:
    """A device whose time grows by a tenth of a token's for each further one."""
    tokens = (1, 512)
    line = lambda one: Curve(tokens, (one, one * (1 + 51.1)))  # noqa: E731
    return Costs(
        layer=line(layer), outside=line(outside), attention=1e-9, tiled=1e-9, compute_bytes=compute
    )


CPU = device(2e-3, 1e-3)
GPU = device(1e-4, 1e-4, compute=300_000_000)
BOTH = Bench(cpu={8: CPU}, gpu=GPU, crossing=Curve((1, 512), (2e-4, 1e-3)))


def report(layers: int, layer: float, outside: float, attention: float) -> TrialReport:
    times = tuple(
        Timed(case, case.tokens * (outside + layers * (layer + attention * case.depth)))
        for case in CASES
    )
    return TrialReport(times=times, memory={"compute/CPU": 77, "weights/CPU": 5})


def test_costs_of_a_layer_come_from_the_difference_of_two_stand_ins() -> None:
    found = costs(report(4, 3e-3, 5e-3, 1e-6), report(12, 3e-3, 5e-3, 1e-6), (4, 12), "CPU")
    assert found.layer.at(1) == pytest.approx(3e-3)
    assert found.layer.at(100) == pytest.approx(0.3)
    assert found.outside.at(1) == pytest.approx(5e-3)
    assert found.attention == pytest.approx(1e-6)
    assert found.compute_bytes == 77


def test_noise_never_makes_a_cost_negative() -> None:
    found = costs(report(4, 3e-3, 5e-3, 0), report(12, 1e-3, 1e-3, 0), (4, 12), "CPU")
    assert found.layer.at(1) >= 0
    assert found.outside.at(512) >= 0
    assert found.attention >= 0


@given(st.lists(st.integers(1, 3 << 30), min_size=2, max_size=130))
def test_stand_ins_differ_and_are_no_larger_than_the_model(sizes: list[int]) -> None:
    short, long = stand_ins(sizes)
    assert 0 < short < long <= len(sizes)


def test_stand_ins_of_small_layers_are_larger_than_a_cache() -> None:
    short, long = stand_ins([16 << 20] * 24)
    assert (long - short) * (16 << 20) >= 192 << 20


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


def test_cached_beginning_costs_nothing_but_attention() -> None:
    layout = Layout(gpu_layers=0, threads=8)
    whole = ttft(anatomy(), BOTH, layout, 2000)
    rest = ttft(anatomy(), BOTH, layout, 2000, known=1500)
    assert rest < whole / 3
    assert ttft(anatomy(), BOTH, layout, 2000, known=2000) > 0


def test_memory_is_where_the_layers_are() -> None:
    none = memory(anatomy(), BOTH, Layout(gpu_layers=0, threads=8))
    half = memory(anatomy(), BOTH, Layout(gpu_layers=17, threads=8))
    every = memory(anatomy(), BOTH, Layout(gpu_layers=33, threads=8))
    assert none.gpu == 0
    assert half.ram < none.ram
    assert every.ram == 80_000_000
    assert every.gpu > anatomy().weights - 80_000_000
    assert half.gpu < every.gpu


def test_all_on_the_gpu_where_it_fits() -> None:
    found = best(anatomy(), BOTH, Limits(ram=64 * GIGABYTE, gpu=24 * GIGABYTE), "chat")
    assert found[0].layout.gpu_layers == 33
    assert where(anatomy(), found[0]) == "all on the GPU"


@given(st.integers(0, 6 * GIGABYTE), st.sampled_from(sorted(TURNS)))
def test_best_fits_and_nothing_that_fits_is_quicker(gpu: int, workload: str) -> None:
    limits = Limits(ram=64 * GIGABYTE, gpu=gpu)
    found = best(anatomy(), BOTH, limits, workload)  # type: ignore[arg-type]
    assert all(one.memory.gpu <= gpu for one in found)
    assert found[0].turn <= 1.01 * min(one.turn for one in found)
    assert reasons(anatomy(), found, limits)


def test_gpu_that_is_slower_than_the_processor_stays_free() -> None:
    slow = Bench(cpu={8: CPU}, gpu=device(5e-3, 5e-3))
    found = best(anatomy(), slow, Limits(ram=64 * GIGABYTE, gpu=24 * GIGABYTE), "chat")
    assert found[0].layout.gpu_layers == 0


def test_fewer_threads_where_more_win_nothing() -> None:
    same = Bench(cpu={4: CPU, 8: CPU})
    found = best(anatomy(), same, Limits(ram=64 * GIGABYTE), "batch")
    assert found[0].layout.threads == 4


def test_what_does_not_fit_is_refused_with_the_figures() -> None:
    small = Limits(ram=GIGABYTE)
    assert best(anatomy(), BOTH, small, "chat") == []
    anyhow = best(anatomy(), BOTH, Limits(ram=64 * GIGABYTE), "chat")
    assert "4.6 GB of memory" in refusal(anatomy(), small, anyhow[0])


def test_terms_are_said_in_words() -> None:
    found = best(anatomy(), BOTH, Limits(ram=64 * GIGABYTE, gpu=2 * GIGABYTE), "chat")
    said = dict(terms(anatomy(), BOTH, found[0], "chat"))
    assert sum(said.values()) == pytest.approx(found[0].tpot)
    assert "of 32 layers on the GPU" in where(anatomy(), found[0])


def test_cases_hold_the_depth_that_attention_is_measured_at() -> None:
    assert Case(1, DEPTH) in CASES
