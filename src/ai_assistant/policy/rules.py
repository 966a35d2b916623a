"""The owner's rules as data: which label may go where, and what gives a request a label."""

from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from ai_assistant.policy.labels import FAILED, Destination, Facts

REACHES = ("process", "machine", "lan", "cloud")
ANY = "*"


class Target(msgspec.Struct, frozen=True):
    """One entry of a list of places, such as `machine`, `lan`, `cloud@eu` or `openai@us`."""

    name: str
    """A reach, a provider's name, or `*`."""
    region: str = ANY

    def covers(self, where: Destination) -> bool:
        """Whether the destination is meant. An unknown region is in none."""
        if self.region != ANY and where.region.casefold() != self.region.casefold():
            return False
        if self.name in REACHES:
            return where.reach == self.name
        return where.reach in ("lan", "cloud") and self.name in (ANY, where.name)

    def __str__(self) -> str:
        return self.name if self.region == ANY else f"{self.name}@{self.region}"


HERE = (Target("process"), Target("machine"))


class LabelRule(msgspec.Struct, frozen=True):
    """Where text with one label may go. What neither list names is not reached."""

    allow: tuple[Target, ...] = HERE
    redact: tuple[Target, ...] = ()
    """Where it may go with placeholders."""
    refuse: bool = False
    """Nowhere, not even to this machine's own engines."""
    restore: bool = True
    """Whether placeholders in the answer become what they stand for."""


class Source(msgspec.Struct, frozen=True):
    """What gives a request a label besides its text: patterns with `*` and `?`."""

    label: str
    keys: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    conversations: tuple[str, ...] = ()

    def names(self, facts: Facts) -> bool:
        """Whether any of the patterns fits."""
        pairs = (
            (self.keys, facts.tenant),
            (self.models, facts.model),
            (self.paths, facts.endpoint),
            (self.clients, facts.client),
            (self.conversations, facts.conversation),
        )
        return any(
            value and any(fnmatchcase(value.casefold(), pattern.casefold()) for pattern in patterns)
            for patterns, value in pairs
        )


class OwnWords(msgspec.Struct, frozen=True):
    """The owner's dictionary and expressions for one label."""

    label: str
    words: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the rule file says. The default lets nothing leave this machine."""

    unlabelled: LabelRule = LabelRule()
    labels: dict[str, LabelRule] = {}
    sources: tuple[Source, ...] = ()
    own: tuple[OwnWords, ...] = ()
    regions: tuple[str, ...] = ()
    """Countries of telephone numbers; empty: the usual ones."""
    broken: str = ""
    """Why the file cannot be used; then nothing leaves, whatever else is said."""
    origin: str = ""
    """The file; empty: there is none."""
    digest: str = ""
    """Of the file's bytes: the egress log tells by it which rules held."""

    def given(self, facts: Facts) -> frozenset[str]:
        """Labels that come from the facts."""
        return frozenset(one.label for one in self.sources if one.names(facts)) | facts.declared


Action = Literal["allow", "redact", "refuse"]


def knows(rules: Rules, label: str, built_in: tuple[str, ...]) -> bool:
    """Whether a label means anything here."""
    return label in rules.labels or label in built_in or label in FAILED
