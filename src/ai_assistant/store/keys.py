"""The keys of a node as they are kept: whose, what they may, and the hash of each secret.

A secret is 32 random bytes, so one round of SHA-256 is enough: nobody finds it by trying. It is
shown once, when it is made, and written nowhere.
"""

import secrets
from hashlib import sha256
from typing import Literal

import msgspec

from ai_assistant.protocol.requests import Priority

Class = Literal["interactive", "normal", "batch"]
Who = Literal["user", "team"]
PREFIX = "aia-"


class Limits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What may be had in a time. None: as much as there is."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    """Of prompts and answers together."""
    concurrency: int | None = None
    """Requests that may be under way at once."""
    dollars_per_day: float | None = None
    """For workers that cost money; a day begins at midnight where the node is."""
    dollars_per_month: float | None = None

    @property
    def any(self) -> bool:
        """Whether there is a limit at all."""
        return self != NO_LIMITS


NO_LIMITS = Limits()


class Secret(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One secret of a key, as its hash."""

    sha256: str
    until: float | None = None
    """Seconds since 1970: an older secret that is still good for a while."""


class StoredKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One key. Its name is its tenant."""

    name: str
    secrets: tuple[Secret, ...]
    created: float
    """Seconds since 1970, as all times here."""
    expires: float | None = None
    enabled: bool = True
    user: str = ""
    """Who holds it; what limits a user counts over all of the user's keys."""
    team: str = ""
    priority: Class = "interactive"
    """The most urgent class that it may ask for."""
    weight: float = 1.0
    models: tuple[str, ...] = ()
    """The only ones that it may use, `*` stands for any letters; none: all."""
    labels: tuple[str, ...] = ()
    """Labels that everything it sends has."""
    regions: tuple[str, ...] = ()
    """The only regions that its text may reach beyond the own network."""
    limits: Limits = NO_LIMITS

    @property
    def ceiling(self) -> Priority:
        """Its class as the engine knows it."""
        return Priority[self.priority.upper()]


class Group(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What all keys of a user or of a team may have together."""

    kind: Who
    name: str
    limits: Limits = NO_LIMITS


class KeyBook(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All keys of a node, in the order in which they were made."""

    version: int = 1
    keys: tuple[StoredKey, ...] = ()
    groups: tuple[Group, ...] = ()

    def key(self, name: str) -> StoredKey | None:
        """The key of that name."""
        return next((key for key in self.keys if key.name == name), None)

    def group(self, kind: Who, name: str) -> Group | None:
        """The limits of that user or team, if there are any."""
        return next((one for one in self.groups if (one.kind, one.name) == (kind, name)), None)

    def with_key(self, key: StoredKey) -> "KeyBook":
        """With this key, in the place of the one of its name."""
        kept = [key if one.name == key.name else one for one in self.keys]
        kept += [] if self.key(key.name) else [key]
        return msgspec.structs.replace(self, keys=tuple(kept))

    def with_group(self, group: Group) -> "KeyBook":
        """With these limits, in the place of those of its name; no limits take it away."""
        others = [one for one in self.groups if (one.kind, one.name) != (group.kind, group.name)]
        kept = [*others, group] if group.limits.any else others
        return msgspec.structs.replace(self, groups=tuple(kept))

    def without(self, name: str) -> "KeyBook":
        """Without the key of that name."""
        return msgspec.structs.replace(self, keys=tuple(k for k in self.keys if k.name != name))


def digest_of(secret: bytes) -> str:
    """By what a secret is known here."""
    return sha256(secret).hexdigest()


def make_secret() -> tuple[str, Secret]:
    """A new one: what its holder sends, and what is kept."""
    text = PREFIX + secrets.token_urlsafe(32)
    return text, Secret(sha256=digest_of(text.encode()))


def rotated(key: StoredKey, secret: Secret, *, old_until: float | None) -> StoredKey:
    """With a new secret; the newest of the others stays good until then, or goes now."""
    kept = [msgspec.structs.replace(key.secrets[0], until=old_until)] if old_until else []
    return msgspec.structs.replace(key, secrets=(secret, *kept))
