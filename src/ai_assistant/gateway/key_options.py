"""What may stand behind a key in its line: `name=alice requests-per-minute=60`.

The command `keys` takes the same values; what is wrong is said in the same words.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from ai_assistant.protocol.errors import InvalidRequest
from ai_assistant.protocol.requests import Priority
from ai_assistant.store.keys import NO_LIMITS, Limits

CLASSES = {priority.name.lower(): priority for priority in Priority}
WEIGHTS = (0.01, 100.0)
LIMITS = {name.replace("_", "-"): name for name in Limits.__struct_fields__}
"""Options that are limits, and the fields that they fill."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_LABEL = re.compile(r"[a-z][a-z0-9_\-]{0,39}")
_REGION = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-]{0,31}")
_PATTERN = re.compile(r"[A-Za-z0-9*][A-Za-z0-9._:/@*+-]{0,199}")
_BETWEEN = re.compile(r"[,|]")
_MOST = 1e12


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The options of one line."""

    name: str = ""
    kind: str = "interactive"
    weight: float = 1.0
    user: str = ""
    team: str = ""
    models: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    expires: float | None = None
    limits: Limits = NO_LIMITS


class _Wrong(Exception):
    """Says what an option takes."""


def read_options(words: list[str]) -> Options:
    """The options behind a key. Raises `InvalidRequest`, whose words repeat nothing of them."""
    given: dict[str, Any] = {}
    limits: dict[str, float] = {}
    for word in words:
        option, _, value = word.partition("=")
        field = LIMITS.get(option, _FIELDS.get(option, ""))
        if field in given or field in limits:
            raise InvalidRequest("An option stands twice after an API key.")
        try:
            if option in LIMITS:
                limits[field] = read_limit(option, value)
            else:
                given[field] = _READERS.get(option, _unknown)(value)
        except _Wrong as wrong:
            raise InvalidRequest(f"What follows an API key is wrong: {wrong}.") from None
    return Options(**given, limits=msgspec.convert(limits, Limits))


def check_option(option: str, value: str) -> Any:
    """One value, read; raises `InvalidRequest`, which says what the option takes."""
    try:
        return read_limit(option, value) if option in LIMITS else _READERS[option](value)
    except _Wrong as wrong:
        raise InvalidRequest(f"{wrong}.".replace("=", "", 1)) from None


def read_limit(option: str, value: str) -> float:
    """A limit; raises `_Wrong`."""
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if option == "concurrency":
        if not number.is_integer() or not 1 <= number <= _MOST:
            raise _Wrong("concurrency= is a whole number from 1 on")
        return int(number)
    least = 0.0 if option.startswith("dollars") else 1e-3
    if not least <= number <= _MOST:
        raise _Wrong(f"{option}= is a number{' above 0' if least else ', 0 or more'}")
    return number


def _name(option: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        if not _NAME.fullmatch(value):
            raise _Wrong(f"{option}= takes up to 64 letters, digits and . _ @ -")
        return value

    return read


def _class(value: str) -> str:
    if value not in CLASSES:
        raise _Wrong(f"class= is one of {', '.join(CLASSES)}")
    return value


def _weight(value: str) -> float:
    try:
        weight = float(value)
    except ValueError:
        weight = 0.0
    if not WEIGHTS[0] <= weight <= WEIGHTS[1]:
        raise _Wrong(f"weight= is a number from {WEIGHTS[0]:g} to {WEIGHTS[1]:g}")
    return weight


def _several(option: str, pattern: re.Pattern[str], what: str) -> Callable[[str], tuple[str, ...]]:
    def read(value: str) -> tuple[str, ...]:
        parts = tuple(dict.fromkeys(_BETWEEN.split(value)))
        if not all(pattern.fullmatch(part) for part in parts):
            raise _Wrong(f"{option}= takes {what}, with | between several")
        return parts

    return read


def _expires(value: str) -> float:
    """A day (it ends with it) or a moment in UTC, as ISO 8601 writes them."""
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        day_only = len(value) <= len("2026-12-31")
        return moment.timestamp() + (86_400 if day_only else 0)
    except (ValueError, OverflowError):
        raise _Wrong("expires= is a day such as 2026-12-31, or a moment in UTC") from None


def _unknown(_: str) -> Any:
    *others, last = [f"{option}=" for option in (*_READERS, *LIMITS)]
    raise _Wrong(f"only {', '.join(others)} and {last} may follow it")


_READERS: dict[str, Callable[[str], Any]] = {
    "name": _name("name"),
    "class": _class,
    "weight": _weight,
    "user": _name("user"),
    "team": _name("team"),
    "models": _several("models", _PATTERN, "names of models, in which * stands for any letters"),
    "labels": _several("labels", _LABEL, "labels of a to z, 0 to 9, _ and -"),
    "regions": _several("regions", _REGION, "regions such as eu"),
    "expires": _expires,
}
_FIELDS = {option: option for option in _READERS} | {"class": "kind"}
