"""The benchmarks' own tools: what they write and how they judge."""

import numpy as np
import pytest
from benchmarks.blocks import random_blocks
from benchmarks.client import Answer
from benchmarks.soak import growth
from benchmarks.ties import Step, is_tie
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize

PATH = [
    Step("The", -0.1, {"A": -3.0}),
    Step(" cat", -0.9, {" dog": -1.1, " cow": -2.5}),
    Step("<|im_end|>", -0.7, {"!": -0.8}),
    Step(" ", -0.7, {" slept": -0.9, " lay": -4.0}),
    Step("sat", -0.1, {"lay": -4.0}),
]


@pytest.mark.parametrize("kind", [Type.Q8_0, Type.Q4_K, Type.Q6_K])
def test_random_blocks_have_the_deviation_asked_for(kind: Type) -> None:
    blocks = random_blocks(kind, 64, 1024, 0.02, np.random.default_rng(1))
    values = dequantize(blocks, kind)
    assert values.shape == (64, 1024)
    assert values.std() == pytest.approx(0.02, rel=0.02)
    assert abs(values.mean()) < 0.001


@pytest.mark.parametrize(
    ("text", "tie"),
    [
        ("The dog ran", True),
        ("The cow ran", False),
        ("A cat sat", False),
        ("The cat! Yes", True),
        ("The cat stood", False),
        ("The cat lay", False),
        ("The cat slept", True),
        ("Something else", False),
    ],
)
def test_only_a_near_tie_excuses_another_answer(text: str, tie: bool) -> None:
    assert is_tie(PATH, text) is tie


@pytest.mark.parametrize(("text", "tie"), [("The cat slept", True), ("The cat lay", False)])
def test_the_last_token_may_be_the_beginning_of_another(text: str, tie: bool) -> None:
    assert is_tie(PATH[:4], text) is tie


def test_growth_is_the_slope_after_the_first_third() -> None:
    samples = [(done, [100 + max(done, 3000) / 1000, 50.0]) for done in range(0, 9001, 100)]
    assert growth(samples, 0) == pytest.approx(1.0)
    assert growth(samples, 1) == pytest.approx(0.0)


def test_an_answer_counts_tokens_by_usage_and_times_the_first_text() -> None:
    answer = Answer(started=10.0, ended=14.0, status=200)
    answer.pieces = [
        (11.0, b'data: {"choices":[{"text":"","finish_reason":null}]}\r\n\r\ndata: {"choi'),
        (12.0, b'ces":[{"text":"ab","finish_reason":null}]}\n\n'),
        (13.0, b'data: {"choices":[{"text":"c","finish_reason":"length"}]}\n\n'),
        (14.0, b'data: {"choices":[],"usage":{"completion_tokens":5}}\n\ndata: [DONE]\n\n'),
    ]
    assert answer.text == "abc"
    assert answer.first_token_seconds == 2.0
    assert answer.finish == "length"
    assert answer.usage == {"completion_tokens": 5}
