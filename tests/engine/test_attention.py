"""Our attention (`kernels/attention.inc`): many sequences in one step as each of them alone."""

import ctypes
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ai_assistant.engine.kernels import Context, Model

CELLS = 2048
SHARED = 192
"""Tokens that half of the sequences begin with."""
LARGEST = 0.06
"""So much of their spread may logits differ: alone, values are added up in half precision. They
differ by up to 0.03 without our part, too; a row that sees a wrong cell is far beyond."""


@pytest.fixture(scope="module", params=["f16", "q8_0"])
def contexts(request: pytest.FixtureRequest, starter: Model) -> Iterator[tuple[Context, Context]]:
    """One for all sequences at once, one for each alone."""
    made = [
        Context(starter, cells=CELLS, sequences=9, chunk=512, outputs=16, threads=threads,
                threads_batch=threads, kv_type=request.param)
        for threads in (2, 1)
    ]  # fmt: skip
    yield made[0], made[1]
    for one in made:
        one.close()


def test_the_kernels_that_setup_builds_have_it() -> None:
    spec = find_spec("llama_cpp")
    assert spec is not None
    assert spec.origin is not None
    libraries = list((Path(spec.origin).parent / "lib").glob("*ggml-cpu*"))
    assert libraries, "where do the kernels keep their code for the processor?"
    for one in libraries:
        assert hasattr(ctypes.CDLL(str(one)), "ggml_attention_of_many_sequences"), one


def said(context: Context, steps: list[tuple[int, int, list[int]]]) -> np.ndarray:
    """Logits of each step's last token, computed in one batch: (steps, vocabulary)."""
    context.batch.clear()
    for sequence, position, tokens in steps:
        context.batch.add(sequence, position, tokens, 1)
    context.decode(context.batch)
    return context.logits(len(steps)).copy()


def alone(context: Context, tokens: list[int]) -> np.ndarray:
    """Logits of the last token, which is a step of its own."""
    context.clear()
    said(context, [(0, 0, tokens[:-1])])
    return said(context, [(0, len(tokens) - 1, tokens[-1:])])[0]


def text(seed: int, length: int) -> list[int]:
    return np.random.default_rng(seed).integers(100, 4000, length).tolist()


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.lists(st.sampled_from([1, 1, 1, 2, 9, 24, 66]), min_size=2, max_size=8),
    seed=st.integers(0, 99),
)
def test_rows_of_many_sequences_are_as_alone(
    contexts: tuple[Context, Context], rows: list[int], seed: int
) -> None:
    together, single = contexts
    together.clear()
    shared = text(seed, SHARED)
    said(together, [(8, 0, shared)])
    texts: list[list[int]] = []
    for number, _ in enumerate(rows):
        begin = shared if number % 2 else text(seed + number, 90)
        own = text(100 + seed + number, 50 + 7 * number)
        texts.append(begin + own)
        if number % 2:
            together.share(8, number, SHARED)
            said(together, [(number, SHARED, own)])
        else:
            said(together, [(number, 0, begin + own)])
    ends = [text(200 + seed + number, count) for number, count in enumerate(rows)]
    steps = [(number, len(texts[number]), end) for number, end in enumerate(ends)]

    found = said(together, steps)

    for number, end in enumerate(ends):
        expected = alone(single, texts[number] + end)
        assert np.std(found[number] - expected) < LARGEST * np.std(expected)
