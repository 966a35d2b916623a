"""Hours of the day in which batches are worked on, and spans of time: read once, then asked."""

import re
from datetime import datetime, time, timedelta

import msgspec

from ai_assistant.protocol.errors import InvalidRequest

_HOURS = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)\s*-\s*([01]?\d|2[0-3]):([0-5]\d)")
_SPAN = re.compile(r"([1-9]\d{0,4})([mhd])")
_SECONDS = {"m": 60, "h": 3600, "d": 86_400}
LONGEST = 30 * 86_400


class Window(msgspec.Struct, frozen=True):
    """Spans of local time; one that ends before it begins goes over midnight. None: always."""

    spans: tuple[tuple[time, time], ...] = ()

    def is_open(self, at: float) -> bool:
        """Whether work may be done at that moment (seconds since 1970)."""
        now = datetime.fromtimestamp(at).time()
        return not self.spans or any(_holds(span, now) for span in self.spans)

    def next_change(self, at: float) -> float | None:
        """The first moment after `at` when a span begins or ends; None: never."""
        today = datetime.fromtimestamp(at).date()
        edges = {edge for span in self.spans for edge in span}
        moments = (
            # A time of the wall clock, so that summer time moves the moment and not the hour.
            datetime.combine(today + timedelta(days=day), edge).timestamp()
            for day in range(3)
            for edge in edges
        )
        return min((moment for moment in moments if moment > at), default=None)


def _holds(span: tuple[time, time], now: time) -> bool:
    begin, end = span
    if begin < end:
        return begin <= now < end
    return now >= begin or now < end  # Equal ends: the whole day.


def read_window(text: str) -> Window:
    """`22:00-06:00`, or several with commas; raises `InvalidRequest`."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    found = [_HOURS.fullmatch(part) for part in parts]
    if not all(found):
        raise InvalidRequest(
            f"window: expected hours such as 22:00-06:00, not {text!r}.", param="window"
        )
    spans = [tuple(map(int, match.groups())) for match in found if match]
    return Window(tuple((time(h, m), time(h2, m2)) for h, m, h2, m2 in spans))


def read_span(text: str, param: str) -> int:
    """Seconds of `24h`, `90m` or `7d`; raises `InvalidRequest`."""
    match = _SPAN.fullmatch(text)
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not 0 < seconds <= LONGEST:
        raise InvalidRequest(
            f"{param}: expected 24h, or another time such as 90m or 7d, up to 30d.", param=param
        )
    return seconds
