"""The forms in which systems write numbers and lists."""

import re
from collections.abc import Iterable, Sequence

from ai_assistant.devices.source import Source

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_LONGEST_LIST = 1 << 16
"""No machine has more processors; a damaged file may claim to."""


def number(text: str | None) -> int | None:
    """A whole number at the beginning; None if there is none."""
    found = re.match(r"\s*(-?\d{1,20})", text or "")
    return int(found[1]) if found else None


def scaled(text: str | None, unit: float) -> float | None:
    """A number in other units: `scaled("45500", 1000)` is 45.5."""
    value = number(text)
    return None if value is None else value / unit


def size(text: str | None) -> int | None:
    """Bytes from `32K`, `1.00M`, `7812.50M` or `16 kB`."""
    found = re.match(r"\s*(\d{1,15}(?:\.\d+)?)\s*([KMGTkmgt]?)", text or "")
    return int(float(found[1]) * _UNITS[found[2].lower()]) if found else None


def cpu_list(text: str | None) -> tuple[int, ...]:
    """Numbers from `0-3,8,10-11`; nothing from what is not such a list."""
    numbers: set[int] = set()
    for part in (text or "").split(","):
        first, _, last = part.strip().partition("-")
        if not (first.isdecimal() and (last or first).isdecimal()):
            continue
        low, high = int(first), int(last or first)
        if low <= high < _LONGEST_LIST:
            numbers.update(range(low, high + 1))
    return tuple(sorted(numbers))


def table(text: str | None, separator: str = ":") -> dict[str, str]:
    """The first value of each key in lines like `key: value`."""
    found: dict[str, str] = {}
    for line in (text or "").splitlines():
        key, mark, value = line.partition(separator)
        if mark:
            found.setdefault(key.strip(), value.strip())
    return found


def chosen(text: str | None) -> str | None:
    """The word in brackets of `always [madvise] never`."""
    found = re.search(r"\[(\S+)\]", text or "")
    return found[1] if found else None


def first(values: Iterable[str | None]) -> str | None:
    """The first that is not empty."""
    return next((value for value in values if value), None)


def read_first(source: Source, paths: Sequence[str]) -> str | None:
    """The first of these files that says something."""
    return first(source.read(path) for path in paths)
