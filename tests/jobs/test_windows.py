"""Hours of the day."""

import time
from collections.abc import Iterator
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_assistant.jobs.windows import read_span, read_window
from ai_assistant.protocol.errors import InvalidRequest

HOURS = st.tuples(st.integers(0, 23), st.integers(0, 59))
MOMENTS = st.integers(1_700_000_000, 1_900_000_000)


@pytest.fixture(params=["UTC", "Europe/Berlin", "America/St_Johns"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("window", "moment", "is_open", "change"),
    [
        ("22:00-06:00", "2026-11-22T21:59:59", False, "2026-11-22T22:00"),
        ("22:00-06:00", "2026-11-22T22:00:00", True, "2026-11-23T06:00"),
        ("22:00-06:00", "2026-11-23T05:59:59", True, "2026-11-23T06:00"),
        ("22:00-06:00", "2026-11-23T06:00:00", False, "2026-11-23T22:00"),
        ("9:30-17:00", "2026-11-23T12:00:00", True, "2026-11-23T17:00"),
        ("01:00-02:00, 12:00-13:00", "2026-11-23T02:00:00", False, "2026-11-23T12:00"),
        ("07:00-07:00", "2026-11-23T07:00:00", True, "2026-11-24T07:00"),
    ],
)
@pytest.mark.usefixtures("zone")
def test_hours(window: str, moment: str, is_open: bool, change: str) -> None:
    read = read_window(window)
    assert read.is_open(at(moment)) is is_open
    assert read.next_change(at(moment)) == at(change)


@pytest.mark.parametrize("text", ["22:00", "25:00-06:00", "22-6", "a-b", "22:00-06:60", "x,22:00"])
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="22:00-06:00"):
        read_window(text)


@pytest.mark.usefixtures("zone")
def test_the_night_of_the_longer_hour_has_a_beginning_and_an_end() -> None:
    window = read_window("02:30-03:30")
    now, edges = at("2026-10-24T12:00"), list[float]()
    for _ in range(4):
        moment = window.next_change(now)
        assert moment is not None
        edges.append(moment)
        now = moment
    assert edges == sorted(set(edges))
    assert [window.is_open(edge) for edge in edges] == [True, False, True, False]


@given(HOURS, HOURS, MOMENTS)
def test_nothing_changes_before_the_next_change(
    begin: tuple[int, int], end: tuple[int, int], now: int
) -> None:
    window = read_window(f"{begin[0]}:{begin[1]:02}-{end[0]}:{end[1]:02}")
    moment = window.next_change(now)
    assert moment is not None
    assert now < moment <= now + 2 * 86_400
    before = window.is_open(now)
    assert all(window.is_open(now + (moment - now) * part / 8) is before for part in range(8))


@given(MOMENTS)
def test_no_window_is_always_open(now: int) -> None:
    assert read_window("").is_open(now)
    assert read_window("").next_change(now) is None


@pytest.mark.parametrize(("text", "seconds"), [("24h", 86_400), ("90m", 5400), ("30d", 2_592_000)])
def test_spans(text: str, seconds: int) -> None:
    assert read_span(text, "completion_window") == seconds


@pytest.mark.parametrize("text", ["", "0h", "24", "31d", "-1h", "1w", "1h30m", "²h"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_span(text, "completion_window")
    assert caught.value.param == "completion_window"
