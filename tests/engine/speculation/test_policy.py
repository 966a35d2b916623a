"""The best shares, against trying all; and what that comes to over a whole answer."""

import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_assistant.engine.speculation.policy import (
    MARGIN,
    MOST,
    OWN,
    PAST,
    PROMPT_WORTH,
    Acceptance,
    allocate,
    draft_length,
)

CHANCES = st.lists(st.floats(0, 1), min_size=0, max_size=4)
# A step's seconds: a first token, and what each further one adds.
STEPS = st.lists(st.floats(0, 2), min_size=40, max_size=40).map(
    lambda more: list(itertools.accumulate(more, initial=1.0))
)


def rate(
    candidates: list[list[float]], shares: tuple[int, ...], others: int, prompt: int, t: list[float]
) -> float:
    """Expected tokens per second of the step, from the definition."""
    tokens = others + len(candidates) + PROMPT_WORTH * prompt
    for chances, share in zip(candidates, shares, strict=True):
        right = 1.0
        for chance in chances[:share]:
            right *= chance
            tokens += right
    return tokens / t[prompt + others + len(candidates) + sum(shares)]


@given(
    st.lists(CHANCES, min_size=1, max_size=3),
    st.integers(0, 4),
    st.integers(0, 9),
    st.integers(0, 20),
    STEPS,
)
def test_no_other_shares_are_better(
    candidates: list[list[float]], others: int, room: int, prompt: int, t: list[float]
) -> None:
    shares = tuple(allocate(candidates, others, t.__getitem__, room, prompt=prompt))
    every = itertools.product(*(range(len(chances) + 1) for chances in candidates))
    possible = [each for each in every if sum(each) <= room]
    assert shares in possible
    none = rate(candidates, (0,) * len(candidates), others, prompt, t)
    best = max(rate(candidates, each, others, prompt, t) for each in possible)
    got = rate(candidates, shares, others, prompt, t)
    if best > none * MARGIN * 1.000001:
        assert got == pytest.approx(best)
    elif sum(shares):
        assert got >= none * MARGIN * 0.999999


def linear(slope: float, first: float = 1.0) -> Callable[[int], float]:
    return lambda tokens: first + slope * (tokens - 1)


@given(st.lists(st.floats(0, 1), max_size=20), st.integers(0, 8))
def test_nothing_is_drafted_where_tokens_cost_as_much_as_steps(
    chances: list[float], others: int
) -> None:
    assert draft_length(chances, others, linear(1.0), 16) == 0


def test_others_in_the_batch_are_not_slowed_for_little() -> None:
    chances = [0.6] * 8
    assert draft_length(chances, 0, linear(0.3), 16) > 0
    assert draft_length(chances, 7, linear(0.3, first=0.3), 16) == 0


def test_a_flat_stretch_behind_a_step_is_reached() -> None:
    """One more token is dear and the next seven are free: all or nothing."""
    t = [0, 1] + [1.6] * 8 + [9] * 8
    assert draft_length([0.5], 0, t.__getitem__, 16) == 0
    assert draft_length([0.9] * 16, 0, t.__getitem__, 16) == 8


def test_the_better_guess_gets_the_room() -> None:
    assert allocate([[0.5] * 4, [0.9] * 4], 0, linear(0.05), 4) == [0, 4]
    assert allocate([[0.9, 0.1], [0.8, 0.1]], 0, linear(0.05), 2) == [1, 1]
    assert allocate([[], [0.9]], 3, linear(0.05), 4) == [0, 1]
    assert allocate([], 3, linear(0.05), 4) == []
    assert allocate([[0.9]], 3, linear(0.05), 0) == [0]


def test_levels_cover_every_length() -> None:
    assert OWN[2] == OWN[0] == 0
    assert OWN[3] == 1
    assert OWN[32] == OWN[-1] == 6
    assert PAST[0] == 7
    assert PAST[1] == 8
    assert PAST[-1] == 11
    assert len(OWN) == len(PAST) > 32 + MOST


def test_chances_follow_what_is_seen_and_start_from_the_tenants() -> None:
    tenant = Acceptance()
    request = Acceptance(tenant, window=64)
    start = request.expected[3]
    for _ in range(40):
        request.observe(3, False)
    assert request.expected[3] < 0.05 < tenant.expected[3] < start
    assert Acceptance(tenant).expected[3] == tenant.expected[3]
    for _ in range(60):
        request.observe(3, True)
    assert request.expected[3] > 0.5


def simulated(chance: float, seconds: Callable[[int], float], tokens: int, seed: int) -> float:
    """Throughput against no drafts, of a text whose guesses are right with this chance and look
    as good as can be (the longest match), for a request that no other went before."""
    numbers = random.Random(seed)
    acceptance = Acceptance(Acceptance(Acceptance()), window=64)
    spent, made = 0.0, 0
    while made < tokens:
        k = draft_length(acceptance.chances(OWN, 32, 16), 0, seconds, 16)
        right = True
        gained = 0
        while right:  # the guess goes on being compared until it is wrong
            right = numbers.random() < chance
            acceptance.observe(OWN[32], right)
            gained += 1
            if gained > k:
                break
        made += gained
        spent += seconds(1 + k)
    return made * seconds(1) / spent


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("slope", [0.05, 0.15, 0.5, 0.9])
@pytest.mark.parametrize("chance", [0.0, 0.05, 0.2, 0.4])
def test_it_is_off_by_itself_where_it_does_not_pay(chance: float, slope: float, seed: int) -> None:
    assert simulated(chance, linear(slope), 5_000, seed) >= 0.99


@pytest.mark.parametrize("chance", [0.05, 0.3])
def test_the_first_short_answer_loses_little(chance: float) -> None:
    rates = [simulated(chance, linear(0.5), 200, seed) for seed in range(20)]
    assert sum(rates) / len(rates) >= 0.97


@pytest.mark.parametrize("seed", range(3))
def test_copied_text_gains(seed: int) -> None:
    assert simulated(0.95, linear(0.15), 5_000, seed) >= 2.5
    assert simulated(0.9, linear(0.15), 5_000, seed) >= 2.0
