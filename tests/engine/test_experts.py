"""Mixtures of experts by our products of quantised weights (`kernels/matmul_experts.inc`)."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from benchmarks.tiny import make
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.matmul_tools import (
    KINDS,
    QUICK,
    SCALED,
    Chosen,
    Exact,
    Floats,
    Products,
    Weights,
    adding,
    book,
    check,
    check_same_bits,
    grain_of,
    requantised,
    rounding,
    weights,
)

from ai_assistant.engine.kernels import Context, Model
from ai_assistant.engine.kernels.libllama import llama as lib


class Case(NamedTuple):
    """A product with a mixture's weights; `seed` chooses its numbers."""

    kind: str
    experts: int
    used: int
    apart: bool
    """Each expert gets activations of its own, as behind the first two products of a layer."""
    favourites: int
    """All tokens go to so many of the experts at most."""
    rows: int
    columns: int
    tokens: int
    threads: int
    seed: int

    @property
    def random(self) -> np.random.Generator:
        return np.random.default_rng(1000 + self.seed)

    @property
    def matrices(self) -> list[Weights]:
        each = range(self.experts)
        return [weights(self.kind, self.rows, self.columns, 100 * self.seed + one) for one in each]

    @property
    def activations(self) -> Floats:
        shape = (self.tokens, self.used if self.apart else 1, self.columns)
        return self.random.standard_normal(shape, dtype=np.float32)

    @property
    def chosen(self) -> Chosen:
        """Different ones for each token: (tokens, used)."""
        random = self.random
        some = random.permutation(self.experts)[: max(self.favourites, self.used)]
        found = [random.permutation(some)[: self.used] for _ in range(self.tokens)]
        return np.array(found, np.int32)


@st.composite
def cases(draw: st.DrawFn, fewest: int = 1) -> Case:
    kind = draw(st.sampled_from(KINDS))
    columns = grain_of(kind) * draw(st.integers(1, 3 if kind.endswith("_K") else 20))
    experts = draw(st.integers(1, 9))
    return Case(
        kind,
        experts,
        draw(st.integers(1, min(experts, 4))),
        draw(st.booleans()),
        draw(st.integers(1, experts)),
        draw(st.one_of(st.integers(2, 75), st.sampled_from([64, 130, 300]))),
        columns,
        draw(st.one_of(st.integers(fewest, 20), st.sampled_from([70, 150]))),
        draw(st.integers(1, 3)),
        draw(st.integers(0, 99)),
    )


class Sums(NamedTuple):
    """By the book, and how far a product may be off: (tokens, used, rows)."""

    values: Exact
    rounding: Exact
    adding: Exact


def sums(matrices: list[Weights], tokens: Floats, chosen: Chosen) -> Sums:
    wide = np.broadcast_to(tokens, (*chosen.shape, tokens.shape[-1]))
    shape = (*chosen.shape, len(matrices[0].values))
    found = Sums(np.empty(shape), np.empty(shape), np.empty(shape))
    for expert in np.unique(chosen):
        matrix, its = matrices[expert], chosen == expert
        for to, function in zip(found, (book, rounding, adding), strict=True):
            to[its] = function(matrix, wide[its])
    return found


def company(chosen: Chosen) -> Chosen:
    """How many tokens each one's expert has: (tokens, used)."""
    return np.bincount(chosen.ravel())[chosen]


@QUICK
@given(case=cases())
def test_mixtures_are_right_but_for_8_bits_of_each_activation(
    processor: Products, case: Case
) -> None:
    matrices, tokens, chosen = case.matrices, case.activations, case.chosen
    found = processor.mixture(matrices, tokens, chosen, case.threads)
    expected = sums(matrices, tokens, chosen)
    check(found, expected.values, expected.rounding + expected.adding)


@QUICK
@given(case=cases())
def test_where_8_bits_are_enough_mixtures_are_right(processor: Products, case: Case) -> None:
    """Whole numbers to 127 times powers of two: a wrong expert, token, code or row shows here."""
    matrices, chosen, random = case.matrices, case.chosen, case.random
    shape = case.activations.shape[:2]
    whole = random.integers(-127, 128, (*shape, case.columns // SCALED, SCALED))
    whole[..., random.integers(SCALED)] = 127
    grain = grain_of(case.kind) // SCALED
    sizes = random.integers(-6, 7, (*shape, case.columns // SCALED // grain, 1))
    numbers = whole * np.exp2(np.repeat(sizes, grain, axis=2))
    tokens = numbers.reshape(*shape, case.columns).astype(np.float32)

    found = processor.mixture(matrices, tokens, chosen, case.threads)

    expected = sums(matrices, tokens, chosen)
    check(found, expected.values, expected.adding)


@QUICK
@given(case=cases(fewest=2), other=st.integers(1, 3))
def test_a_token_comes_to_the_same_bits_whatever_its_experts_compute_beside_it(
    exact: Products, case: Case, other: int
) -> None:
    """For other types than Q8_0: as long as somebody does, and as long as nobody does."""
    matrices, tokens, chosen = case.matrices, case.activations, case.chosen
    together = exact.mixture(matrices, tokens, chosen, case.threads)
    check_same_bits(exact.mixture(matrices, tokens, chosen, other), together)

    count = case.random.integers(2, case.tokens + 1)
    some = case.random.permutation(case.tokens)[:count]
    fewer = exact.mixture(matrices, tokens[some], chosen[some], other)

    if case.kind == "q8_0":
        check_same_bits(fewer, together[some])
        one = some[:1]
        check_same_bits(exact.mixture(matrices, tokens[one], chosen[one], other), together[one])
        return
    before, after = company(chosen)[some] > 1, company(chosen[some]) > 1
    same = before == after
    check_same_bits(fewer[same], together[some][same])
    allowed = sums(matrices, tokens[some], chosen[some]).adding
    check(fewer, together[some].astype(np.float64), 2 * allowed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threads", [1, 2])
def test_an_expert_gives_what_a_plain_product_gives(
    exact: Products, kind: str, threads: int
) -> None:
    case = Case(kind, 4, 2, False, 4, 200, 512, 60, threads, 1)
    matrices, tokens, chosen = case.matrices, case.activations, case.chosen
    found = exact.mixture(matrices, tokens, chosen, threads)
    for expert, matrix in enumerate(matrices):
        token, slot = np.nonzero(chosen == expert)
        plain = exact.product(matrix, tokens[token, 0], 1)
        check_same_bits(found[token, slot], plain)


@pytest.mark.parametrize("rows", [8, 24, 40, 136])
def test_experts_that_are_arranged_anew_give_the_same(processor: Products, rows: int) -> None:
    for tokens in (1, 2, 3, 40):
        case = Case("q4_0", 5, 2, tokens == 3, 5, rows, 512, tokens, 2, rows)
        matrices, activations, chosen = case.matrices, case.activations, case.chosen
        found = processor.mixture(matrices, activations, chosen, 2, arranged=True)
        expected = sums(matrices, activations, chosen)
        check(found, expected.values, expected.rounding + expected.adding)
        if processor.ours and tokens > 1:
            shared = company(chosen) > 1
            plain = processor.mixture(matrices, activations, chosen, 1)
            check_same_bits(found[shared], plain[shared])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_token_that_is_no_number_stays_alone(
    processor: Products, kind: str, value: float
) -> None:
    case = Case(kind, 3, 2, True, 3, 35, 256, 14, 2, 3)
    tokens = case.activations
    expected = processor.mixture(case.matrices, tokens, case.chosen, 2)
    tokens[5, 1, 7] = value
    found = processor.mixture(case.matrices, tokens, case.chosen, 2)
    others = np.ones((14, 2), bool)
    others[5, 1] = False
    check_same_bits(found[others], expected[others])


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small one of Q8_0."""
    folder = tmp_path_factory.mktemp("mixtures")
    plain = make("tiny-mixture", folder / "plain.gguf")
    requantised(plain, folder / "q8_0.gguf", lib.LLAMA_FTYPE_MOSTLY_Q8_0)
    return folder


def logits(path: Path, steps: list[list[int]], threads: int = 1) -> Floats:
    """After each token of one sequence, taken in these steps."""
    model = Model(str(path), gpu_layers=0)
    context = Context(model, cells=256, sequences=1, chunk=128, outputs=128,
                      threads=threads, threads_batch=threads, op_offload=False)  # fmt: skip
    found: list[Floats] = []
    position = 0
    for step in steps:
        context.batch.clear()
        context.batch.add(0, position, step, len(step))
        context.decode(context.batch)
        found.append(context.logits(len(step)).copy())
        position += len(step)
    context.close()
    model.close()
    return np.concatenate(found)


TEXT = np.random.default_rng(4).integers(100, 250, 96).tolist()


def test_a_mixture_says_the_same_in_steps_of_any_size(exact: Products, mixture: Path) -> None:
    path = mixture / "q8_0.gguf"
    whole = logits(path, [TEXT])
    check_same_bits(logits(path, [[token] for token in TEXT], threads=2), whole)
    check_same_bits(logits(path, [TEXT[:40], TEXT[40:43], TEXT[43:44], TEXT[44:]]), whole)


def test_a_mixture_says_what_it_says_without_rounding(mixture: Path) -> None:
    """But for a few tokens: where two experts are nearly as good, rounding chooses another."""
    rounded, full = (logits(mixture / f"{one}.gguf", [TEXT]) for one in ("q8_0", "plain"))
    off = np.std(rounded - full, axis=1) / np.std(full, axis=1)
    assert np.median(off) < 0.05
