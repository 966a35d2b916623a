"""Days and months of money: those of the clock on the wall where the node is."""

import time

_HOUR = 3600.0


def day_of(now: float) -> str:
    """The day of a moment, such as 2026-11-22."""
    return time.strftime("%Y-%m-%d", time.localtime(now))


def month_of(day: str) -> str:
    """The month of a day, such as 2026-11."""
    return day[:7]


def next_day(now: float) -> float:
    """The next midnight, in seconds since 1970."""
    today = time.localtime(now)
    return _later(now, (today.tm_year, today.tm_mon, today.tm_mday + 1))


def next_month(now: float) -> float:
    """The next first of a month at midnight."""
    today = time.localtime(now)
    return _later(now, (today.tm_year, today.tm_mon + 1, 1))


def _later(now: float, date: tuple[int, int, int]) -> float:
    """`mktime` knows thirteenth months, thirty-second days and summer time."""
    return max(time.mktime((*date, 0, 0, 0, 0, 0, -1)), now + 1)
