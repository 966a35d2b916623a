"""What a client may wish of whoever answers, and what it is told of who did and why."""

from fnmatch import fnmatchcase
from typing import Literal

import msgspec

Objective = Literal["order", "latency", "cost", "quality", "balanced"]
"""`order`: as the owner listed them."""
Explain = Literal["", "only", "run"]
"""`only`: show the decision and answer nothing. `run`: show it beside the answer."""


class Wishes(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An objective and hard limits: of one request, or of a key for all of its requests.

    A limit is never broken: who would break it, or whose figure for it is unknown, is not asked.
    Only a time to first token that nobody has measured yet counts as kept.
    """

    objective: Objective | None = None
    max_price: float | None = None
    """Dollars for the request."""
    max_price_per_million: float | None = None
    """Dollars per million tokens, read or written, whichever is dearer."""
    max_ttft: float | None = None
    """Seconds to the first token."""
    regions: tuple[str, ...] = ()
    """Where it may be computed, in the owner's words; our own engines are always within."""
    models: tuple[str, ...] = ()
    """The only models that may answer, as `covers` reads them. A key's."""
    budget: float | None = None
    """Dollars that are left to its key."""
    explain: Explain = ""


NO_WISHES = Wishes()


def covers(models: tuple[str, ...], *names: str) -> bool:
    """Whether a key's list has one of the names; `*` stands for any letters, no list has all."""
    return not models or any(fnmatchcase(name, one) for one in models for name in names)


def together(first: Wishes, second: Wishes) -> Wishes:
    """Both at once: the stricter limit of each kind, the objective of `second` if it has one.

    Regions or models that have nothing in common leave nobody.
    """
    return Wishes(
        objective=second.objective or first.objective,
        max_price=_lower(first.max_price, second.max_price),
        max_price_per_million=_lower(first.max_price_per_million, second.max_price_per_million),
        max_ttft=_lower(first.max_ttft, second.max_ttft),
        regions=_common(first.regions, second.regions),
        models=_common(first.models, second.models),
        budget=_lower(first.budget, second.budget),
        explain=second.explain or first.explain,
    )


NONE_IN_COMMON = "\0none"
"""No region and no model has this name."""


def _lower(one: float | None, other: float | None) -> float | None:
    known = [limit for limit in (one, other) if limit is not None]
    return min(known) if known else None


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    if not (one and other):
        return one or other
    return tuple(name for name in one if name in other) or (NONE_IN_COMMON,)


class Term(msgspec.Struct, frozen=True):
    """One fact that was weighed."""

    name: str
    value: str
    """With its unit."""
    note: str = ""


class Weighed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One candidate as the decision saw it."""

    worker: str
    """A model here, or PROVIDER/MODEL."""
    place: str
    turn: int | None = None
    """1 is asked first; None: it is not asked."""
    refused: str = ""
    """Why it is not asked."""
    fallback: bool = False
    """It is asked only because those before it cannot answer."""
    ttft: float | None = None
    """Seconds to the first token, as predicted."""
    tpot: float | None = None
    """Seconds for each further token."""
    cost: float | None = None
    """Dollars; None: the price is unknown."""
    quality: float | None = None
    score: float | None = None
    """Lower is better."""
    terms: tuple[Term, ...] = ()


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who is asked, in which order, and why."""

    asked: str
    """The name that the client gave."""
    objective: Objective
    reason: str
    candidates: tuple[Weighed, ...]
    microseconds: float = 0.0
    """What deciding took."""


class Served(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who answered: with the first piece of an answer and, with its cost, with the last."""

    worker: str
    reason: str = ""
    cost: float | None = None
    """Dollars: expected in the first piece, by its usage in the last; None: unknown."""
    fallback: bool = False
    """Not the one that was meant to answer, or not that one alone."""
    why: str = ""
    """Why there was a fallback."""
    before: tuple[str, ...] = ()
    """Who began this answer, where it was continued by another."""
    decision: Decision | None = None
    """For those who asked for it."""
