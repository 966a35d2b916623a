"""What is given up when memory is short, and given back when it is not: a pure decision.

First draft models, which only help, then what can be computed again (the tier in RAM), then how
much runs at once, then models that nobody uses, at last the layout of those that somebody does. One
thing at a time: each is looked at before the next one goes.
"""

from collections.abc import Sequence

import msgspec

from ai_assistant.devices.pressure import Level

SMALLEST = 16 << 20
"""Bytes of a tier that are not worth another halving."""
QUIET_SECONDS = 60.0
"""How long memory must have been no problem before something is given back."""
BETWEEN_SECONDS = 3.0
"""How long a relief may take to show."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A loaded model, as far as it can give something up."""

    id: str
    in_use: int
    last_used: float
    running: int
    warm: int
    """Bytes that its tier in RAM may have."""
    warm_planned: int
    slots: int
    slots_planned: int
    draft: int = 0
    """Bytes of its draft model: the first thing that an engine gives up when it is eased."""
    default: bool = False
    smaller: bool = False
    """There is a smaller layout that what runs fits into."""


class Ease(msgspec.Struct, frozen=True):
    """A model's tier in RAM and its slots, from now on."""

    id: str
    warm: int
    slots: int


class Unload(msgspec.Struct, frozen=True):
    """A model that nobody uses goes."""

    id: str


class Shrink(msgspec.Struct, frozen=True):
    """A model that is in use is laid out anew, smaller."""

    id: str


Step = Ease | Unload | Shrink


def relieve(level: Level, models: Sequence[Held]) -> Step | None:
    """The next thing to give up; None where there is nothing left, or no need."""
    if level == "calm":
        return None
    if with_draft := [one for one in models if one.draft]:
        largest = max(with_draft, key=lambda one: one.draft)
        return Ease(largest.id, largest.warm, largest.slots)
    share = 0 if level == "critical" else 2
    if with_tier := [one for one in models if one.warm > (SMALLEST if share else 0)]:
        largest = max(with_tier, key=lambda one: one.warm)
        return Ease(largest.id, largest.warm // share if share else 0, largest.slots)
    if wide := [one for one in models if one.slots > max(one.running // 2, 1)]:
        widest = max(wide, key=lambda one: one.slots)
        return Ease(widest.id, widest.warm, max(widest.slots // 2, 1))
    # The default model goes last and only in need: loaded again for each question it helps nobody.
    may_go = [one for one in models if not one.in_use and not (one.default and share)]
    if may_go:
        return Unload(min(may_go, key=lambda one: (one.default, one.last_used)).id)
    if level == "critical" and (can := [one for one in models if one.smaller]):
        return Shrink(max(can, key=lambda one: one.last_used).id)
    return None


def restore(models: Sequence[Held], free: int, total: int) -> Step | None:
    """What to give back after a quiet time: slots first, then tiers, as far as there is room."""
    for one in models:
        if one.slots < one.slots_planned:
            return Ease(one.id, one.warm, min(one.slots * 2, one.slots_planned))
    for one in models:
        wanted = min(max(one.warm * 2, SMALLEST), one.warm_planned)
        if one.warm < wanted <= max(free - total // 8, 0) + one.warm:
            return Ease(one.id, wanted, one.slots)
    return None
