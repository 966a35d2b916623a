"""Sampling against a naive oracle that sorts the whole vocabulary."""

from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_assistant.engine.sampling import Sampler, draw, log_probabilities
from ai_assistant.protocol.requests import Sampling

VOCABULARY = 300


def naive_nucleus(
    row: np.ndarray, temperature: float, top_k: int, top_p: float, min_p: float
) -> dict[int, float]:
    """The tokens that may be drawn and their probabilities, the slow way."""
    scaled = row.astype(np.float64) / temperature
    weights = np.exp(scaled - scaled.max())
    order = np.argsort(-weights, kind="stable")
    floor = weights.max() * min_p
    kept = list(order[: top_k or len(order)])
    total = sum(weights[kept])
    chosen: list[int] = []
    mass = 0.0
    for token in kept:
        if mass >= top_p * total and chosen and top_p < 1:
            break
        chosen.append(int(token))
        mass += weights[token]
    chosen = [token for token in chosen if weights[token] >= floor]
    total = sum(weights[chosen])
    return {token: weights[token] / total for token in chosen}


@st.composite
def rows(draw_: st.DrawFn) -> np.ndarray:
    seed = draw_(st.integers(0, 2**32 - 1))
    scale = draw_(st.sampled_from([0.1, 1.0, 4.0, 20.0]))
    return (np.random.default_rng(seed).standard_normal(VOCABULARY) * scale).astype(np.float32)


@settings(max_examples=300, deadline=None)
@given(
    row=rows(),
    temperature=st.floats(0.1, 3),
    top_k=st.sampled_from([0, 1, 5, 40, 1000]),
    top_p=st.sampled_from([0.05, 0.5, 0.9, 0.99, 1.0]),
    min_p=st.sampled_from([0.0, 0.05, 0.5]),
    point=st.floats(0, 1, exclude_max=True),
)
def test_draw_falls_into_the_naive_nucleus(
    row: np.ndarray, temperature: float, top_k: int, top_p: float, min_p: float, point: float
) -> None:
    token = draw(row, temperature, top_k, top_p, min_p, point)
    # A hair wider: float32 and float64 differ at the very border.
    allowed = naive_nucleus(row, temperature, top_k, min(1.0, top_p + 1e-4), min_p * 0.999)
    assert token in allowed


@pytest.mark.parametrize(
    ("top_k", "top_p", "min_p"),
    [(0, 1.0, 0.0), (20, 1.0, 0.0), (0, 0.8, 0.0), (40, 0.9, 0.02), (0, 1.0, 0.1)],
)
def test_frequencies_are_the_probabilities(top_k: int, top_p: float, min_p: float) -> None:
    row = (np.random.default_rng(5).standard_normal(VOCABULARY) * 2).astype(np.float32)
    points = (np.arange(20_000) + 0.5) / 20_000
    drawn = [draw(row, 0.7, top_k, top_p, min_p, point) for point in points]
    expected = naive_nucleus(row, 0.7, top_k, top_p, min_p)
    counts = np.bincount(drawn, minlength=VOCABULARY) / len(drawn)
    for token in range(VOCABULARY):
        assert counts[token] == pytest.approx(expected.get(token, 0.0), abs=2e-4)


def test_greedy_without_edits_needs_no_choice() -> None:
    assert Sampler(Sampling(temperature=0)).plain_greedy
    assert not Sampler(Sampling(temperature=0, logit_bias={3: 1.0})).plain_greedy


def test_bias_forces_and_forbids() -> None:
    row = np.zeros(10, np.float32)
    row[4] = 5
    assert Sampler(Sampling(temperature=0, logit_bias={4: -100})).choose(row, array("i")) != 4
    row = np.zeros(10, np.float32)
    assert Sampler(Sampling(temperature=0, logit_bias={7: 100})).choose(row, array("i")) == 7


def test_repetition_penalty_looks_back_a_window() -> None:
    sampler = Sampler(Sampling(temperature=0, repetition_penalty=2.0))
    row = np.array([4.0, 3.0, -1.0], np.float32)
    assert sampler.choose(row.copy(), array("i", [0])) == 1
    assert sampler.choose(row.copy(), array("i", [0] + [2] * 64)) == 0


def test_presence_and_frequency_count_the_output() -> None:
    sampler = Sampler(Sampling(temperature=0, frequency_penalty=0.6, presence_penalty=0.5))
    row = np.array([2.0, 1.0], np.float32)
    assert sampler.choose(row.copy(), array("i")) == 0
    sampler.accept(0)
    assert sampler.choose(row.copy(), array("i", [0])) == 1


def test_log_probabilities_sum_to_one() -> None:
    row = np.random.default_rng(1).standard_normal(VOCABULARY).astype(np.float32)
    chosen, ids, values = log_probabilities(row, 17, VOCABULARY)
    assert np.exp(values).sum() == pytest.approx(1.0, abs=1e-6)
    assert values[ids.index(17)] == pytest.approx(chosen)
    assert values == sorted(values, reverse=True)
