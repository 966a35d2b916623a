"""The flags of `keys add` and `keys set`: read, checked, and put on a key, a user or a team."""

import re
import time
from collections.abc import Callable
from typing import Any

import click
import msgspec

from ai_assistant.cli.errors import WrongUse
from ai_assistant.gateway.key_options import CLASSES, LIMITS, check_option
from ai_assistant.protocol.errors import InvalidRequest
from ai_assistant.store.keys import Group, Limits, StoredKey

NONE = "none"
_SPAN = re.compile(r"(\d{1,4})([hdw])")
_SECONDS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}
_HELP = {
    "user": ("NAME", "Who holds it; a user's limits count over all of the user's keys."),
    "team": ("NAME", "The team that it belongs to; the same for teams."),
    "class": ("CLASS", f"The most urgent class it may ask for: {', '.join(CLASSES)}."),
    "weight": ("NUMBER", "Its share against the others of its class."),
    "models": ("LIST", "The only models that it may use, such as `starter,qwen*`."),
    "labels": ("LIST", "Labels that all of its text has, such as `customer-data`."),
    "regions": ("LIST", "The only regions that its text may reach, such as `eu`."),
    "expires": ("WHEN", "A day, a moment, or a time from now: 2026-12-31, 12h, 30d, 8w."),
    "requests-per-minute": ("N", "Requests that it may begin in a minute."),
    "tokens-per-minute": ("N", "Tokens of prompts and answers in a minute."),
    "concurrency": ("N", "Requests that may be under way at once."),
    "dollars-per-day": ("X", "Money for workers that cost some, from midnight to midnight."),
    "dollars-per-month": ("X", "The same for a calendar month."),
}
_FIELDS = {"class": "priority"}
_EMPTY: dict[str, Any] = {"user": "", "team": "", "class": "interactive", "weight": 1.0,
                          "models": (), "labels": (), "regions": (), "expires": None}  # fmt: skip

Values = dict[str, Any]
"""By the flag's name without its hyphens in front; None clears a limit."""


def value_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """All of them; none is given unless it is written."""
    for name, (metavar, text) in reversed(_HELP.items()):
        variable = name.replace("-", "_") if name != "class" else "kind"
        function = click.option(f"--{name}", variable, metavar=metavar, help=text)(function)
    return function


def read_values(given: dict[str, str | None]) -> Values:
    """What was written, checked; `none` takes it away. Raises `WrongUse`."""
    values: Values = {}
    for variable, text in given.items():
        name = "class" if variable == "kind" else variable.replace("_", "-")
        if text is None:
            continue
        try:
            values[name] = _value(name, text)
        except InvalidRequest as error:
            raise WrongUse(f"--{error.message}") from error
    return values


def put_on_key(key: StoredKey, values: Values) -> StoredKey:
    """The key with these values."""
    fields = {_FIELDS.get(name, name): value for name, value in values.items() if name in _EMPTY}
    return msgspec.structs.replace(key, **fields, limits=_limits(key.limits, values))


def put_on_group(group: Group, values: Values) -> Group:
    """A user or a team with these limits; it has nothing else. Raises `WrongUse`."""
    others = [name for name in values if name not in LIMITS]
    if others:
        raise WrongUse(f"--{others[0]} belongs to a key; a {group.kind} has limits only.")
    return msgspec.structs.replace(group, limits=_limits(group.limits, values))


def _limits(before: Limits, values: Values) -> Limits:
    changes = {LIMITS[name]: value for name, value in values.items() if name in LIMITS}
    return msgspec.structs.replace(before, **changes)


def _value(name: str, text: str) -> Any:
    if text == NONE:
        return _EMPTY.get(name)
    span = _SPAN.fullmatch(text) if name == "expires" else None
    if span:
        return time.time() + int(span[1]) * _SECONDS[span[2]]
    return check_option(name, text)


def read_span(text: str) -> float:
    """Seconds of `12h`, `30d`, `8w`; raises `WrongUse`."""
    span = _SPAN.fullmatch(text)
    if not span:
        raise WrongUse("--keep-old takes a time such as 12h, 7d or 2w.")
    return float(int(span[1]) * _SECONDS[span[2]])
