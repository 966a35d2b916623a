"""Buckets: never more than a minute's worth and what flows in; the wait that is told is true."""

from hypothesis import given
from hypothesis import strategies as st

from ai_assistant.gateway.access.bucket import Bucket, FullBucket

RATES = st.floats(min_value=0.01, max_value=1e5)
GAPS = st.lists(st.floats(min_value=0, max_value=90), min_size=1, max_size=60)


@given(RATES, GAPS)
def test_in_no_stretch_of_time_is_more_given_than_was_in_it_and_flowed_in(
    per_minute: float, gaps: list[float]
) -> None:
    bucket, now, taken = FullBucket(), 1000.0, list[float]()
    for gap in gaps:
        now += gap
        if not bucket.wait(per_minute, now):
            bucket.take(1, per_minute, now)
            taken.append(now)
    for first, begin in enumerate(taken):
        for count, end in enumerate(taken[first:], 1):
            assert count <= max(per_minute, 1) + (end - begin) * per_minute / 60 + 1e-6


@given(RATES, GAPS, st.lists(st.floats(min_value=-50, max_value=500), min_size=60, max_size=60))
def test_after_the_wait_that_was_told_there_is_one_and_not_much_before(
    per_minute: float, gaps: list[float], amounts: list[float]
) -> None:
    bucket, now = FullBucket(), 0.0
    for gap, amount in zip(gaps, amounts, strict=False):
        now += gap
        bucket.take(amount, per_minute, now)
        wait = bucket.wait(per_minute, now)
        assert bucket.wait(per_minute, now + wait * 1.000001 + 1e-6) < 1e-3 * max(wait, 1)
        if wait > 0.1:
            assert bucket.wait(per_minute, now + wait * 0.9) > 0


@given(RATES, st.floats(min_value=0, max_value=1e6))
def test_what_is_put_back_never_makes_more_than_a_full_bucket(rate: float, much: float) -> None:
    bucket = FullBucket()
    bucket.take(1, rate, 5.0)
    bucket.take(-much, rate, 5.0)
    assert bucket.level(rate, 5.0) <= max(rate, 1)


@given(RATES, st.floats(min_value=0, max_value=300), st.floats(min_value=0, max_value=300))
def test_made_again_from_its_state_it_is_the_same(rate: float, first: float, then: float) -> None:
    bucket = FullBucket()
    bucket.take(3, rate, first)
    again = Bucket(*bucket.state)
    assert again.level(rate, first + then) == bucket.level(rate, first + then)


def test_a_larger_limit_holds_at_once() -> None:
    bucket = FullBucket()
    for _ in range(2):
        bucket.take(1, 2, 0.0)
    assert bucket.wait(2, 0.0) > 0
    assert bucket.wait(6000, 0.02) == 0
