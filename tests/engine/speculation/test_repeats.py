"""The longest earlier occurrence, against looking everywhere."""

import random
import tracemalloc
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_assistant.engine.speculation.repeats import LONGEST, PAIR, Repeats

TEXTS = st.lists(st.integers(0, 3), max_size=90)
EVERYWHERE = 10**9


def longest(tokens: list[int]) -> tuple[int, set[int]]:
    """The slow honest answer: the length, bounded, and all positions that have it."""
    found: dict[int, int] = {}
    for end in range(PAIR, len(tokens)):
        length = 0
        while length < min(end, LONGEST) and tokens[end - 1 - length] == tokens[-1 - length]:
            length += 1
        if length >= PAIR:
            found[end] = length
    best = max(found.values(), default=0)
    return best, {end for end, length in found.items() if length == best}


def grown(tokens: list[int], prompt: int, chain: int) -> Repeats:
    repeats = Repeats(array("i", tokens), chain=chain)
    repeats.absorb(prompt)
    while repeats.indexed < len(tokens):
        repeats.advance()
    return repeats


@given(TEXTS, st.integers(0, 90))
def test_the_longest_match_is_found_however_the_text_came(text: list[int], prompt: int) -> None:
    repeats = grown(text, min(prompt, len(text)), EVERYWHERE)
    repeats.check_integrity()
    length, ends = longest(text)
    assert repeats.length == length
    assert not length or repeats.end in ends


@given(TEXTS, st.integers(0, 90))
def test_a_bounded_walk_finds_a_true_match_whenever_there_is_one(
    text: list[int], prompt: int
) -> None:
    repeats = grown(text, min(prompt, len(text)), chain=2)
    repeats.check_integrity()
    length, _ = longest(text)
    assert (repeats.length >= PAIR) == (length >= PAIR)


@given(TEXTS, st.lists(st.integers(1, 20), max_size=20))
def test_slices_make_the_same_index_as_one_piece(text: list[int], slices: list[int]) -> None:
    sliced = Repeats(array("i", text))
    for size in slices:
        sliced.absorb(min(sliced.indexed + size, len(text)))
    sliced.absorb(len(text))
    whole = Repeats(array("i", text))
    whole.absorb(len(text))
    assert (sliced.end, sliced.length) == (whole.end, whole.length)


@given(TEXTS, st.integers(1, 40))
def test_what_followed_is_what_the_text_goes_on_with(text: list[int], count: int) -> None:
    repeats = grown(text, 0, EVERYWHERE)
    if repeats.length:
        expected = list(text)
        for place in range(count):
            expected.append(expected[repeats.end + place])
        assert repeats.following(count).tolist() == expected[len(text) :]


def test_of_equal_matches_the_newest_is_taken() -> None:
    repeats = Repeats(array("i", [1, 2, 7, 1, 2, 8, 1, 2]))
    repeats.absorb(8)
    assert (repeats.length, repeats.following(1).tolist()) == (2, [8])


def test_a_match_goes_on_without_a_search() -> None:
    tokens = array("i", [*range(100), *range(50)])
    repeats = Repeats(tokens, chain=1)
    repeats.absorb(102)
    assert all(repeats.advance() for _ in range(48))
    assert (repeats.length, repeats.end) == (LONGEST, 50)


def test_text_full_of_one_pair_costs_a_bounded_walk() -> None:
    repeats = Repeats(array("i", [1, 2, 3, 1, 2, 4] * 5_000))
    repeats.absorb(30_000)
    repeats.check_integrity()
    assert repeats.length == LONGEST


@pytest.mark.parametrize("vocabulary", [2, 100, 200_000])
def test_memory_grows_with_the_text_only(vocabulary: int) -> None:
    tokens = array("i", random.Random(1).choices(range(vocabulary), k=32_000))
    tracemalloc.start()
    repeats = Repeats(tokens)
    repeats.absorb(len(tokens))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 32_000 * 160
