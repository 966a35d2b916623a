"""API keys: who asks, how urgent that may be, what it may use and how much of it.

A key is one line of text, the same in the key file, in the settings and in the environment:
`KEY`, or `KEY name=alice class=batch weight=2  # a remark`. `key_options.py` knows the options.
Keys that `ai-assistant keys` made are in a file of their own, as hashes.
"""

from hashlib import sha256
from itertools import takewhile

import msgspec

from ai_assistant.gateway.errors import KeyTooWeak
from ai_assistant.gateway.key_options import CLASSES, WEIGHTS, read_options
from ai_assistant.protocol.errors import InvalidRequest
from ai_assistant.protocol.requests import Bounds, Priority
from ai_assistant.protocol.routing import covers
from ai_assistant.store.keys import NO_LIMITS, Limits, StoredKey

__all__ = [
    "CLASSES",
    "WEIGHTS",
    "Caller",
    "Standing",
    "caller_of_key",
    "read_key",
    "secret_of",
    "write_key",
]


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
    user: str = ""
    team: str = ""
    models: tuple[str, ...] = ()
    """The only ones that it may use; none: all."""
    limits: Limits = NO_LIMITS
    expires: float | None = None
    """Seconds since 1970."""
    stored: bool = False
    """Its key is in the file of `ai-assistant keys`."""

    def standing(self, asked: Priority | None) -> Standing:
        """What a request gets: normal unless it asks for something, and never above the ceiling."""
        wanted = Priority.NORMAL if asked is None else asked
        priority = max(wanted, self.ceiling)
        return Standing(priority=priority, tenant=self.tenant, weight=self.weight)

    def must_administer(self, what: str) -> None:
        """Raises `KeyTooWeak` where it may not change the node: its key keeps it to a class or to
        some models."""
        if self.ceiling is not Priority.INTERACTIVE or self.models:
            raise KeyTooWeak(f"This key is limited: it may not {what}.")

    def may_use(self, model: str) -> bool:
        """Whether the model is within its scope."""
        return covers(self.models, model)


def secret_of(line: str) -> str:
    """The key itself: what is sent as `Authorization: Bearer KEY`."""
    return next(iter(line.split()), "")


def read_key(line: str) -> Caller:
    """Whose key it is. Raises `InvalidRequest`, whose words repeat nothing of the line."""
    secret, *others = line.split() or [""]
    if not secret:
        raise InvalidRequest("An API key is empty; remove it or give it a value.")
    given = read_options(list(takewhile(lambda part: not part.startswith("#"), others)))
    name = given.name
    return Caller(
        tenant=name or f"key-{sha256(secret.encode()).hexdigest()[:12]}",
        name=name,
        ceiling=CLASSES[given.kind],
        weight=given.weight,
        bounds=Bounds(labels=given.labels, regions=given.regions),
        user=given.user,
        team=given.team,
        models=given.models,
        limits=given.limits,
        expires=given.expires,
    )


def caller_of_key(key: StoredKey) -> Caller:
    """The same of a key from the file."""
    return Caller(
        tenant=key.name,
        name=key.name,
        ceiling=key.ceiling,
        weight=key.weight,
        bounds=Bounds(labels=key.labels, regions=key.regions),
        user=key.user,
        team=key.team,
        models=key.models,
        limits=key.limits,
        expires=key.expires,
        stored=True,
    )


def write_key(secret: str, *, name: str | None, kind: str | None, weight: float | None) -> str:
    """The line that `read_key` reads."""
    shown = None if weight is None else f"{weight:g}"
    options = {"name": name, "class": kind, "weight": shown}
    given = [f"{option}={value}" for option, value in options.items() if value is not None]
    return " ".join([secret, *given])
