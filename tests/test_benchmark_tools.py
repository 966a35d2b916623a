"""The benchmarks' own tools: what they write and how they judge."""

import asyncio

import numpy as np
import pytest
from benchmarks.blocks import random_blocks
from benchmarks.client import Answer
from benchmarks.retrace import END, Token, parting, retraced
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


# A model of letters: after "a" it says "bcd", after "ab" "cdé", after "ax" "yz".
SPOKEN = {
    "": [
        Token(b"a", ((b"q", 3.0),)),
        Token(b"b", ((b"x", 0.2), (b"u", 2.0), (b" how", 0.1))),
        Token(b"cd", ((b"c", 0.3),)),
        Token("é".encode(), ((b"e", 4.0), ("è".encode()[:1], 0.2))),
    ],
    "ax": [Token(b"y", ((b"w", 0.4),)), Token(b"zzzz", ())],
    "axw": [Token(b"!", ()), Token(b"?", ())],
    "abc": [Token(b"k", ()), Token(b"l", ())],
    "a how": [Token(b" are", ()), Token(b" you", ())],
}


@pytest.mark.parametrize(
    ("text", "nats"),
    [
        ("abcdé", []),
        ("abc", []),  # a beginning
        ("axyzz", [0.2]),
        ("axw!?", [0.2, 0.4]),
        ("abckl", [0.3]),
        ("a how are", [0.1]),
        ("aub", None),  # two nats are a difference
        ("axyyz", None),  # right at first, a letter twice after the close call
        ("axwyz", None),
        ("a how you", None),
        ("Abcd", None),
        ("abcde", None),
    ],
)
def test_a_text_is_followed_to_its_end(text: str, nats: list[float] | None) -> None:
    async def ask(begun: str) -> list[Token]:
        return SPOKEN[begun]

    trace = asyncio.run(retraced(ask, text))
    assert trace.right is (nats is not None)
    if nats is not None:
        assert trace.closest == nats


@pytest.mark.parametrize(
    ("text", "whole", "right"),
    [
        ("Yes", True, True),
        ("Yes", False, True),
        ("Yes.", True, True),  # one more token at a close call
        ("Ye", True, False),  # it ends where the model would not
        ("Ye", False, True),
        ("Yes!", True, False),
    ],
)
def test_the_end_of_an_answer_is_a_token_too(text: str, whole: bool, right: bool) -> None:
    paths = {
        "": [Token(b"Ye", ()), Token(b"s", ((END, 3.0),)), Token(END, ((b".", 0.2), (b"!", 2.0)))],
        "Yes.": [Token(END, ())],
    }

    async def ask(begun: str) -> list[Token]:
        return paths[begun]

    assert asyncio.run(retraced(ask, text, whole=whole)).right is right


def test_where_a_text_parts_is_told() -> None:
    found = parting(SPOKEN[""], b"aub")
    assert found
    assert (found.at, found.taken, found.nats) == (1, b"u", 2.0)
    assert parting(SPOKEN[""], b"abcd\xc3") is None
