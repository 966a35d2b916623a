import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from ai_assistant.engine.pace import Curve, StepTimes

steps = st.lists(st.tuples(st.integers(1, 2000), st.floats(1e-4, 10)), min_size=1, max_size=40)


def curve_of(observed: list[tuple[int, float]]) -> Curve:
    curve = Curve()
    for tokens, seconds in observed:
        curve.observe(tokens, seconds)
    return curve


def line(tokens: int) -> float:
    return 0.010 + 0.001 * tokens


@given(steps)
@settings(max_examples=60)
def test_more_tokens_never_take_less_time(observed: list[tuple[int, float]]):
    curve = curve_of(observed)
    times = [curve.seconds(n) or 0.0 for n in range(1, 2600, 13)]
    assert all(a <= b * (1 + 1e-9) for a, b in itertools.pairwise(times))
    assert times[0] > 0


@given(steps, st.floats(1e-5, 20))
@settings(max_examples=60)
def test_tokens_within_is_the_inverse(observed: list[tuple[int, float]], budget: float):
    curve = curve_of(observed)
    tokens = curve.tokens_within(budget)
    if tokens:
        assert (curve.seconds(tokens) or 0.0) <= budget
    assert tokens == 65_536 or (curve.seconds(tokens + 1) or 0.0) > budget


def test_a_line_is_found_between_and_beyond_what_was_seen():
    times = StepTimes()
    for _ in range(30):
        for tokens in (4, 40, 200):
            times.observe(tokens, line(tokens))
    for tokens in (1, 4, 20, 100, 200, 512, 1000):
        assert abs((times.seconds(tokens) or 0) / line(tokens) - 1) < 0.03
    assert abs(times.tokens_within(line(300)) - 300) < 10


def test_nothing_is_known_at_first():
    times = StepTimes()
    assert not times.known
    assert times.seconds(1) is None
    assert times.tokens_within(1.0) == 0


def test_one_known_size_is_extended_with_care():
    times = StepTimes()
    times.observe(1, 0.01)
    assert 0.01 * 512 * 0.4 < (times.seconds(512) or 0) < 0.01 * 512
    assert times.tokens_within(0.02) == 3
    assert times.tokens_within(0.009) == 0


def test_single_accidents_change_little_and_repeated_ones_count():
    times = StepTimes()
    for step in range(100):
        times.observe(1, 0.7 if step % 10 == 9 else 0.01)
    assert (times.seconds(1) or 0) < 0.011
    for _ in range(3):
        times.observe(1, 0.7)
    assert (times.seconds(1) or 0) > 0.5


def test_disturbed_steps_only_teach_what_is_unknown():
    times = StepTimes()
    times.observe(1, 0.5, disturbed=True)
    assert times.seconds(1) == 0.5
    times.observe(1, 0.1, disturbed=True)
    assert times.seconds(1) == 0.5


def test_a_slow_machine_is_expected_at_other_sizes_too():
    times = StepTimes()
    for _ in range(30):
        times.observe(1, line(1))
        times.observe(512, line(512))
    for _ in range(20):
        times.observe(1, 3 * line(1))
    assert 1.5 * line(512) < (times.seconds(512) or 0) < 3 * line(512)


def test_a_size_that_became_fast_is_not_feared_for_ever():
    times = StepTimes()
    for _ in range(10):
        times.observe(1, line(1))
        times.observe(256, 8 * line(256))
    for _ in range(30):
        tokens = times.tokens_within(0.2)
        times.observe(tokens, line(tokens))
    assert times.tokens_within(0.2) > 150


def test_thread_counts_have_times_of_their_own():
    times = StepTimes()
    times.use(2, 2)
    times.observe(1, 0.1)
    times.use(1, 2)
    assert times.seconds(1) == 0.1
    for _ in range(40):
        times.observe(1, 0.2)
    times.use(2, 2)
    assert times.seconds(1) == 0.1
    times.use(1, 2)
    assert abs((times.seconds(1) or 0) - 0.2) < 0.001
