"""When a model is laid out anew by itself: clear gains that last, and no to and fro."""

import math

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from ai_assistant.devices.worth_moving import (
    LASTS,
    REST,
    Past,
    Prospect,
    worth_moving,
)

GOOD = Prospect(now=4.0, then=2.0, error=0.1, pause=3.0, streams=8, turns=0.2)


def looks(prospect: Prospect, past: Past, until: float, step: float = 5.0) -> list[float]:
    """The moments at which it would move, if every move went well."""
    moments: list[float] = []
    now = 0.0
    while now <= until:
        verdict, past = worth_moving(prospect, past, now)
        if verdict.move:
            moments.append(now)
            past = past.moved(now)
        now += step
    return moments


def test_a_clear_gain_that_lasts_is_taken_once_it_has_lasted() -> None:
    assert looks(GOOD, Past(), 100) == [LASTS]


def test_a_gain_that_comes_and_goes_moves_nothing() -> None:
    past, bad = Past(), structs.replace(GOOD, then=4.0)
    for moment in range(0, 600, 5):
        verdict, past = worth_moving(GOOD if moment % 20 < 15 else bad, past, moment)
        assert not verdict.move


def test_what_nobody_asks_for_is_not_worth_a_pause() -> None:
    idle = structs.replace(GOOD, turns=0.001)
    verdict, _ = worth_moving(idle, Past(better_since=0.0), 1000.0)
    assert not verdict.move
    assert "too little is asked" in verdict.reason


def test_a_gain_within_the_predictions_error_is_none() -> None:
    verdict, _ = worth_moving(structs.replace(GOOD, then=3.3), Past(better_since=0.0), 1000.0)
    assert not verdict.move
    assert "not clearly quicker" in verdict.reason


def test_failures_are_followed_by_ever_longer_rest() -> None:
    past, now, rests = Past(), 0.0, []
    for _ in range(4):
        past, begun = past.failed(now), now
        while not worth_moving(GOOD, structs.replace(past, better_since=begun), now)[0].move:
            now += 10
        rests.append(now - begun)
    assert rests == [2 * REST, 4 * REST, 8 * REST, 16 * REST]


def test_memory_that_others_need_does_not_wait_but_does_not_hammer() -> None:
    must = structs.replace(GOOD, then=9.0, must="other programs need the memory")
    verdict, past = worth_moving(must, Past(moved_at=-1.0), 0.0)
    assert verdict.move
    assert verdict.reason == must.must
    assert not worth_moving(must, past.failed(0.0), 10.0)[0].move
    assert worth_moving(must, past.failed(0.0), 2 * REST + 1)[0].move


times = st.floats(0.001, 1000)


@given(
    st.lists(
        st.builds(
            Prospect, now=times, then=times, error=st.floats(0, 1), pause=times,
            streams=st.integers(0, 100), turns=st.floats(0, 10),
        ),
        max_size=60,
    )
)  # fmt: skip
def test_two_moves_are_never_close_and_never_at_a_loss(prospects: list[Prospect]) -> None:
    past, last = Past(), -math.inf
    for number, prospect in enumerate(prospects):
        now = 30.0 * number
        verdict, past = worth_moving(prospect, past, now)
        if verdict.move:
            assert now - last >= REST
            assert verdict.gain > verdict.cost
            past, last = past.moved(now), now
