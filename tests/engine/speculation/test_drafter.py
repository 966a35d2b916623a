"""One sequence's guesses, from its prompt to its answer."""

import random
import time
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_assistant.engine.speculation import Tenants, draft_length
from ai_assistant.engine.speculation.drafter import SLICE, Drafter
from ai_assistant.engine.speculation.repeats import Repeats

PROMPT = array("i", random.Random(7).choices(range(30_000), k=2_000))


def write(drafter: Drafter, tokens: "array[int]", answer: "array[int]", t: float) -> float:
    """Write `answer` as the engine does, drafts verified; the throughput against none."""

    def seconds(size: int) -> float:
        return 1 + t * (size - 1)

    spent, place = 0.0, 0
    while place < len(answer):
        guess = drafter.candidates(16)
        k = draft_length(guess.chances, 0, seconds, min(16, len(answer) - place - 1))
        accepted = 0
        while accepted < k and guess.tokens[accepted] == answer[place + accepted]:
            accepted += 1
        tokens.extend(answer[place : place + accepted + 1])
        drafter.observe(k, accepted)
        place += accepted + 1
        spent += seconds(1 + k)
    return len(answer) / spent


def test_copied_text_is_twice_as_fast() -> None:
    tokens = PROMPT[:]
    drafter = Tenants().drafter("", tokens)
    assert write(drafter, tokens, PROMPT[100:600], 0.15) > 2.5
    assert drafter.accepted > 400


def test_text_with_changes_still_gains() -> None:
    """An edit: one token of thirty is another one."""
    answer = PROMPT[:1_500]
    for place in range(20, 1_500, 30):
        answer[place] += 30_000
    tokens = PROMPT[:]
    assert write(Tenants().drafter("", tokens), tokens, answer, 0.15) > 2.0


@pytest.mark.parametrize("t", [0.05, 0.15, 0.5, 0.9])
@pytest.mark.parametrize("vocabulary", [12, 60, 30_000])
def test_text_without_a_pattern_is_not_slowed(vocabulary: int, t: float) -> None:
    """With few different tokens there is always a match, and its guess is nearly always wrong."""
    numbers = random.Random(3)
    tokens = array("i", numbers.choices(range(vocabulary), k=500))
    answer = array("i", numbers.choices(range(vocabulary), k=5_000))
    assert write(Tenants().drafter("", tokens), tokens, answer, t) >= 0.97


def test_an_answer_like_the_last_one_is_guessed_from_it() -> None:
    tenants = Tenants()
    form = array("i", random.Random(5).choices(range(30_000), k=300))
    rates: list[float] = []
    for number in range(3):
        tokens = array("i", [number, *range(1, 10)])
        drafter = tenants.drafter("", tokens)
        rates.append(write(drafter, tokens, form, 0.15))
        drafter.finish()
    assert rates[0] == pytest.approx(1.0, abs=0.03)
    assert rates[2] > 2.0


def test_a_long_prompt_is_taken_in_by_slices() -> None:
    tokens = array("i", [*range(3 * SLICE), 0, 1, 2])
    drafter = Tenants().drafter("", tokens)
    assert [len(drafter.candidates(4).tokens) for _ in range(4)] == [0, 0, 0, 4]
    assert drafter.candidates(4).tokens.tolist() == [3, 4, 5, 6]
    assert drafter.candidates(4).matched == 3
    ahead = Tenants().drafter("", tokens)
    assert [ahead.absorb(2 * SLICE), ahead.absorb(2 * SLICE)] == [False, True]
    assert ahead.state.ready


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5), max_size=20), st.booleans())
def test_how_often_it_is_asked_does_not_matter(pieces: list[list[int]], impatient: bool) -> None:
    tokens = array("i", [0, 1, 2, 0, 1])
    drafter = Tenants().drafter("", tokens)
    for piece in pieces:
        tokens.extend(piece)
        if impatient:
            drafter.candidates(3)
    whole = Repeats(tokens)
    whole.absorb(len(tokens))
    guess = drafter.candidates(5)
    if guess.tokens:
        assert len(guess.tokens) == len(guess.chances) <= 5
        assert drafter.state.matched <= whole.length


def test_tokens_that_arrive_while_the_prompt_is_taken_in_are_not_lost() -> None:
    tokens = array("i", [*range(2 * SLICE), 5])
    drafter = Tenants().drafter("", tokens)
    for token in (6, 7, 8):
        drafter.candidates(4)
        tokens.append(token)
    assert drafter.candidates(2).tokens.tolist() == [9, 10]
    assert drafter.state.matched == 4


@pytest.mark.parametrize("prompt", [[], [1], [1, 2]])
def test_short_prompts(prompt: list[int]) -> None:
    tokens = array("i", prompt)
    drafter = Tenants().drafter("", tokens)
    assert not drafter.candidates(4).tokens
    tokens.extend([5, 6, 5, 6, 5])
    assert drafter.candidates(4).tokens.tolist() == [6, 5, 6, 5]
    assert not drafter.candidates(0).tokens
    drafter.finish()


def test_state_counts_what_was_verified() -> None:
    drafter = Tenants().drafter("", array("i", [1, 2, 3]))
    drafter.observe(4, 3)
    drafter.observe(2, 0)
    assert (drafter.state.drafted, drafter.state.accepted) == (6, 3)


def test_a_step_is_never_held_for_long() -> None:
    """Generous: the machine may be busy. The benchmark has the figures."""
    tokens = array("i", random.Random(1).choices(range(200_000), k=32_000))
    drafter = Tenants().drafter("", tokens)
    times: list[float] = []
    while not drafter.state.ready:
        begun = time.perf_counter()
        drafter.candidates(16)
        times.append(time.perf_counter() - begun)
    assert len(times) == 8
    assert sorted(times)[4] < 0.05
