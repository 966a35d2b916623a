"""API keys: who asks, how urgent that may be, and what share of the machine it gets.

A key is one line of text, the same in the key file, in the settings and in the environment:
`KEY`, or `KEY name=alice class=batch weight=2  # a remark`.
"""

import re
from hashlib import sha256
from itertools import takewhile

import msgspec

from ai_assistant.protocol.errors import InvalidRequest
from ai_assistant.protocol.requests import Bounds, Priority

CLASSES = {priority.name.lower(): priority for priority in Priority}
WEIGHTS = (0.01, 100.0)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine must know about whoever asks."""

    priority: Priority = Priority.NORMAL
    tenant: str = ""
    weight: float = 1.0


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """The holder of a key; without keys everyone is the same one."""

    tenant: str = ""
    name: str = ""
    """Empty: the key has none, and the tenant is named by a hash."""
    ceiling: Priority = Priority.INTERACTIVE
    """The most urgent class that this key may ask for."""
    weight: float = 1.0
    bounds: Bounds = Bounds()
    """What may become of its text, whatever the rules allow."""

    def standing(self, asked: Priority | None) -> Standing:
        """What a request gets: normal unless it asks for something, and never above the ceiling."""
        wanted = Priority.NORMAL if asked is None else asked
        priority = max(wanted, self.ceiling)
        return Standing(priority=priority, tenant=self.tenant, weight=self.weight)


def secret_of(line: str) -> str:
    """The key itself: what is sent as `Authorization: Bearer KEY`."""
    return next(iter(line.split()), "")


def read_key(line: str) -> Caller:
    """Whose key it is. Raises `InvalidRequest`, whose words repeat nothing of the line."""
    secret, *others = line.split() or [""]
    if not secret:
        raise InvalidRequest("An API key is empty; remove it or give it a value.")
    options = list(takewhile(lambda part: not part.startswith("#"), others))
    given = dict(_option(option) for option in options)
    if len(given) < len(options):
        raise InvalidRequest("An option stands twice after an API key.")
    name = given.get("name", "")
    return Caller(
        tenant=name or f"key-{sha256(secret.encode()).hexdigest()[:12]}",
        name=name,
        ceiling=CLASSES[given.get("class", "interactive")],
        weight=float(given.get("weight", "1")),
    )


def write_key(secret: str, *, name: str | None, kind: str | None, weight: float | None) -> str:
    """The line that `read_key` reads."""
    shown = None if weight is None else f"{weight:g}"
    options = {"name": name, "class": kind, "weight": shown}
    given = [f"{option}={value}" for option, value in options.items() if value is not None]
    return " ".join([secret, *given])


def _option(text: str) -> tuple[str, str]:
    option, _, value = text.partition("=")
    match option:
        case "name" if _NAME.fullmatch(value):
            return option, value
        case "class" if value in CLASSES:
            return option, value
        case "weight" if _is_weight(value):
            return option, value
        case "name":
            problem = "name= takes up to 64 letters, digits and . _ @ -"
        case "class":
            problem = f"class= is one of {', '.join(CLASSES)}"
        case "weight":
            problem = f"weight= is a number from {WEIGHTS[0]:g} to {WEIGHTS[1]:g}"
        case _:
            problem = "only name=, class= and weight= may follow it"
    raise InvalidRequest(f"What follows an API key is wrong: {problem}.")


def _is_weight(text: str) -> bool:
    try:
        return WEIGHTS[0] <= float(text) <= WEIGHTS[1]
    except ValueError:
        return False
