"""Our products of quantised weights with a step's tokens (`kernels/matmul.inc`)."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.matmul_tools import (
    KINDS,
    QUICK,
    SCALED,
    Floats,
    Products,
    Weights,
    adding,
    book,
    check,
    check_same_bits,
    grain_of,
    has_symbol,
    libraries,
    quantised,
    requantised,
    rounding,
    weights,
)

from ai_assistant.engine.kernels import Context, Model
from ai_assistant.engine.kernels.libllama import llama as lib
from ai_assistant.store.models import starter_path

MANY_ROWS, MANY_TOKENS = [64, 75, 130, 200, 600], [64, 100]
"""So many that rows are computed in pairs of registers, and that threads divide the tokens."""
ALONE = 0.06
"""So much of their spread may logits of a token alone differ: its products are added up in another
order, and what differs by 1e-7 may be rounded to another of 8 bits."""


class Case(NamedTuple):
    """One product; `seed` chooses its numbers."""

    kind: str
    rows: int
    columns: int
    tokens: int
    threads: int
    seed: int

    @property
    def weights(self) -> Weights:
        return weights(self.kind, self.rows, self.columns, self.seed)

    @property
    def random(self) -> np.random.Generator:
        return np.random.default_rng(1000 + self.seed)

    @property
    def activations(self) -> Floats:
        return self.random.standard_normal((self.tokens, self.columns), dtype=np.float32)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    kind = draw(st.sampled_from(KINDS))
    columns = grain_of(kind) * draw(st.integers(1, 4 if kind.endswith("_K") else 20))
    return Case(
        kind,
        draw(st.one_of(st.integers(2, 75), st.sampled_from(MANY_ROWS))),
        columns,
        draw(st.one_of(st.integers(1, 40), st.sampled_from(MANY_TOKENS))),
        draw(st.integers(1, 3)),
        draw(st.integers(0, 99)),
    )


def test_the_kernels_that_setup_builds_have_it(processor: Products) -> None:
    found = libraries()
    assert found, "where do the kernels keep their code for the processor?"
    for one in found:
        assert has_symbol(one), one
    assert processor.ours or not processor.able


@QUICK
@given(case=cases())
def test_products_are_right_but_for_8_bits_of_each_activation(
    processor: Products, case: Case
) -> None:
    matrix, tokens = case.weights, case.activations
    found = processor.product(matrix, tokens, case.threads)
    allowed = rounding(matrix, tokens) + adding(matrix, tokens)
    check(found, book(matrix, tokens), allowed)


@QUICK
@given(case=cases())
def test_where_8_bits_are_enough_products_are_right(processor: Products, case: Case) -> None:
    """Whole numbers to 127 times powers of two: a wrong code, scale, minimum or row shows here."""
    matrix, random = case.weights, case.random
    whole = random.integers(-127, 128, (case.tokens, case.columns // SCALED, SCALED))
    whole[:, :, random.integers(SCALED)] = 127
    grain = grain_of(case.kind) // SCALED
    sizes = random.integers(-6, 7, (case.tokens, case.columns // SCALED // grain, 1))
    numbers = whole * np.exp2(np.repeat(sizes, grain, axis=1))
    tokens = numbers.reshape(case.tokens, case.columns).astype(np.float32)

    found = processor.product(matrix, tokens, case.threads)

    check(found, book(matrix, tokens), adding(matrix, tokens))


@QUICK
@given(case=cases(), other=st.integers(1, 3))
def test_a_token_comes_to_the_same_bits_whatever_is_computed_beside_it(
    exact: Products, case: Case, other: int
) -> None:
    """Alone too for Q8_0; single tokens of others may be llama.cpp's, added in its own order."""
    case = case._replace(tokens=case.tokens + 1)
    matrix, tokens = case.weights, case.activations
    together = exact.product(matrix, tokens, case.threads)

    some = case.random.permutation(case.tokens)[: case.random.integers(2, case.tokens + 1)]
    check_same_bits(exact.product(matrix, tokens[some], other), together[some])
    check_same_bits(exact.product(matrix, tokens[some[:2]], other), together[some[:2]])
    for one in some[:2]:
        alone = exact.product(matrix, tokens[[one]], other)
        check(alone, together[[one]].astype(np.float64), 2 * adding(matrix, tokens[[one]]))
        if case.kind == "q8_0":
            check_same_bits(alone, together[[one]])


@pytest.mark.parametrize("rows", [8, 24, 40, 136])
def test_weights_that_are_arranged_anew_give_the_same(processor: Products, rows: int) -> None:
    for tokens in (1, 2, 5, 64):
        case = Case("q4_0", rows, 512, tokens, 2, rows)
        matrix, activations = case.weights, case.activations
        found = processor.product(matrix, activations, 2, arranged=True)
        allowed = rounding(matrix, activations) + adding(matrix, activations)
        check(found, book(matrix, activations), allowed)
        if processor.ours and tokens > 1:
            check_same_bits(found, processor.product(matrix, activations, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_give_zeros(processor: Products, kind: str) -> None:
    case = Case(kind, 40, 512, 9, 2, 1)
    assert not processor.product(case.weights, np.zeros_like(case.activations), 2).any()


@pytest.mark.parametrize("kind", KINDS)
def test_small_activations_keep_their_precision_beside_large_ones(
    processor: Products, kind: str
) -> None:
    """Each row of weights sees a single block of activations; these differ by ten powers of ten."""
    columns, rows = 1024, 96
    random = np.random.default_rng(5)
    grain = grain_of(kind)
    numbers = random.standard_normal((rows, columns // grain, grain), dtype=np.float32)
    seen = np.arange(rows) % (columns // grain)
    numbers[np.arange(columns // grain) != seen[:, None]] = 0
    matrix = quantised(kind, numbers.reshape(rows, columns))
    sizes = 10 ** np.linspace(-6, 4, columns // grain)
    numbers = random.standard_normal((13, columns // grain, grain), dtype=np.float32)
    numbers *= random.permutation(sizes)[:, None]
    tokens = numbers.reshape(13, columns)

    found = processor.product(matrix, tokens, 2)

    allowed = rounding(matrix, tokens) + adding(matrix, tokens)
    check(found, book(matrix, tokens), allowed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_token_that_is_no_number_stays_alone(
    processor: Products, kind: str, value: float
) -> None:
    case = Case(kind, 35, 256, 14, 2, 3)
    tokens = case.activations
    expected = processor.product(case.weights, tokens, 2)
    tokens[5, 7] = value
    found = processor.product(case.weights, tokens, 2)
    others = np.arange(14) != 5
    check_same_bits(found[others], expected[others])


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_of_two_batches_are_as_those_of_one(exact: Products, kind: str) -> None:
    case = Case(kind, 50, 512, 14, 2, 2)
    flat = exact.product(case.weights, case.activations, 2)
    batches = exact.product(case.weights, case.activations.reshape(2, 7, 512), 2)
    check_same_bits(batches.reshape(flat.shape), flat)


@pytest.mark.parametrize("kind", KINDS)
def test_a_view_with_each_token_a_batch_of_its_own(exact: Products, kind: str) -> None:
    """As a single token's heads are, turned: contiguous, with a stride that leads elsewhere."""
    case = Case(kind, 50, 512, 14, 2, 2)
    flat = exact.product(case.weights, case.activations, 2)
    check_same_bits(exact.product(case.weights, case.activations, 2, apart=True), flat)


@pytest.fixture(scope="module", params=["starter", "starter in Q6_K"])
def model(
    request: pytest.FixtureRequest,
    steady_starter: Model,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Model]:
    if request.param == "starter":
        yield steady_starter
        return
    path = tmp_path_factory.mktemp("models") / "q6_k.gguf"
    requantised(starter_path(), path, lib.LLAMA_FTYPE_MOSTLY_Q6_K)
    made = Model(str(path), gpu_layers=0)
    yield made
    made.close()


@pytest.fixture(scope="module", params=[1, 2])
def context(request: pytest.FixtureRequest, model: Model) -> Iterator[Context]:
    count: int = request.param
    made = Context(model, cells=2048, sequences=4, chunk=512, outputs=64,
                   threads=count, threads_batch=count, op_offload=False)  # fmt: skip
    yield made
    made.close()


def logits(context: Context, position: int, tokens: list[int]) -> Floats:
    """After each of these, which follow one another in sequence 0."""
    context.batch.clear()
    context.batch.add(0, position, tokens, len(tokens))
    context.decode(context.batch)
    return context.logits(len(tokens)).copy()


@pytest.mark.parametrize("prefix", [1, 63, 300])
def test_guesses_are_exact(
    exact: Products, context: Context, prefix: int, request: pytest.FixtureRequest
) -> None:
    """A model says the same of a token, bit by bit, in any steps that want two rows of logits."""
    text = np.random.default_rng(prefix).integers(100, 4000, prefix + 40).tolist()
    context.clear()
    for start in range(0, prefix, 60):
        logits(context, start, text[start : min(start + 60, prefix)])
    ends = range(prefix, prefix + 40, 2)
    pairs = np.concatenate([logits(context, at, text[at : at + 2]) for at in ends])
    for count in (2, 6, 17, 40):
        context.trim(0, prefix)
        together = logits(context, prefix, text[prefix : prefix + count])
        check_same_bits(together, pairs[:count])
    context.trim(0, prefix)
    alone = logits(context, prefix, text[prefix : prefix + 1])
    assert np.std(alone - pairs[:1]) < ALONE * np.std(alone)
    if request.node.callspec.params["model"] == "starter":
        check_same_bits(alone, pairs[:1])
