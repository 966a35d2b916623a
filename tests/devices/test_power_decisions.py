"""Modes, ladders and the throttle: pure decisions."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_assistant.devices.power.modes import Mode, ceiling_of, ladder, read_mode, restraint_of
from ai_assistant.devices.power.throttle import DOWN_SECONDS, UP_SECONDS, Readings, Throttle
from ai_assistant.protocol.errors import InvalidRequest
from ai_assistant.protocol.power import Restraint

KINDS = ("max", "balanced", "quiet", "45 W")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("max", "max"),
        (" Quiet ", "quiet"),
        ("45", "45 W"),
        ("45W", "45 W"),
        ("62.5 watts", "62.5 W"),
    ],
)
def test_modes_are_read_as_people_write_them(text: str, shown: str):
    assert str(read_mode(text)) == shown
    assert read_mode(shown) == read_mode(text)


@pytest.mark.parametrize("text", ["", "fast", "0 W", "-5", "nan", "45 kW", "1e9", "٤٥", "1000000"])
def test_other_words_are_refused_with_the_right_ones(text: str):
    with pytest.raises(InvalidRequest, match="max, balanced, quiet"):
        read_mode(text)


@given(st.text(max_size=20))
def test_no_text_breaks_it(text: str):
    with contextlib.suppress(InvalidRequest):
        assert read_mode(str(read_mode(text)))


def test_max_leaves_nothing_alone():
    assert restraint_of(Mode(kind="max"), 8) == Restraint()


@pytest.mark.parametrize(
    ("kind", "cores", "saturating", "threads"),
    [
        ("balanced", 16, 0, 12),
        ("balanced", 16, 4, 8),  # prompts want more than memory gives single tokens
        ("balanced", 16, 14, 14),
        ("balanced", 2, 0, 2),
        ("balanced", 1, 0, 1),
        ("quiet", 16, 4, 4),
        ("quiet", 2, 0, 1),
    ],
)
def test_threads_of_modes(kind: str, cores: int, saturating: int, threads: int):
    assert restraint_of(read_mode(kind), cores, saturating=saturating).threads == threads


def test_an_owner_s_ceiling_wins():
    assert ceiling_of(read_mode("max"), 0) is None
    assert ceiling_of(read_mode("quiet"), 0) == 70
    assert ceiling_of(read_mode("quiet"), 80) == 80
    assert ceiling_of(read_mode("max"), 80) == 80


@given(st.sampled_from(KINDS), st.integers(1, 256), st.booleans())
def test_each_step_of_a_ladder_asks_for_less(kind: str, cores: int, on_gpu: bool):
    first = restraint_of(read_mode(kind), cores)
    steps = ladder(first, cores, on_gpu=on_gpu)
    assert steps[0] == first
    assert steps[-1].work == 0.25
    sizes = [(one.threads or cores) * one.work for one in steps]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)
    assert {one.slots for one in steps} == {first.slots}


def run(throttle: Throttle, seconds: float, readings: Readings, *, start: float) -> Throttle:
    """The state after so many seconds of the same readings, looked at once a second."""
    for second in range(int(seconds)):
        throttle = throttle.follow(readings, start + second, last=5)
    return throttle


HOT = Readings(temperature=86, ceiling=85)
WARM = Readings(temperature=82, ceiling=85)
COOL = Readings(temperature=79, ceiling=85)


def test_heat_slows_down_step_by_step_and_stops_at_the_last():
    throttle = run(Throttle(), 1, HOT, start=0)
    assert (throttle.level, throttle.by_heat) == (1, True)
    assert run(throttle, DOWN_SECONDS - 1, HOT, start=1).level == 1
    assert run(throttle, DOWN_SECONDS, HOT, start=1).level == 2
    assert run(throttle, 100, HOT, start=1).level == 5


def test_between_ceiling_and_calm_nothing_changes():
    slowed = run(Throttle(), 1, HOT, start=0)
    assert run(slowed, 1000, WARM, start=1).level == 1


def test_calm_speeds_up_only_after_a_while():
    slowed = run(Throttle(), 10, HOT, start=0)
    assert run(slowed, UP_SECONDS, COOL, start=10).level == slowed.level
    assert run(slowed, UP_SECONDS + 1, COOL, start=10).level == slowed.level - 1
    broken = run(run(slowed, UP_SECONDS - 1, COOL, start=10), 1, WARM, start=30)
    assert run(broken, UP_SECONDS, COOL, start=31).level == slowed.level


def test_a_temperature_that_cannot_be_read_any_more_changes_nothing():
    slowed = run(Throttle(), 1, HOT, start=0)
    lost = Readings(temperature=None, ceiling=85)
    assert run(slowed, 1000, lost, start=1).level == 1


def test_watts_are_kept_while_there_is_work():
    over = Readings(watts=60, wanted=45)
    slowed = run(Throttle(), 1, over, start=0)
    assert (slowed.level, slowed.by_heat) == (1, False)
    idle = Readings(watts=9, wanted=45, working=False)
    assert run(slowed, 1000, idle, start=1).level == 1
    frugal = Readings(watts=30, wanted=45)
    assert run(slowed, UP_SECONDS + 1, frugal, start=1).level == 0
    near = Readings(watts=44, wanted=45)
    assert run(slowed, 1000, near, start=1).level == 1


def test_without_anything_wanted_nothing_slows_down():
    assert run(Throttle(), 1000, Readings(temperature=99, watts=500), start=0) == Throttle()


@given(st.lists(st.tuples(st.floats(0, 120), st.floats(0, 200), st.booleans()), max_size=60))
def test_the_level_stays_on_the_ladder(seen: list[tuple[float, float, bool]]):
    throttle = Throttle()
    for now, (heat, watts, working) in enumerate(seen):
        readings = Readings(temperature=heat, ceiling=80, watts=watts, wanted=50, working=working)
        before, throttle = throttle.level, throttle.follow(readings, 5.0 * now, last=3)
        assert 0 <= throttle.level <= 3
        assert abs(throttle.level - before) <= 1
