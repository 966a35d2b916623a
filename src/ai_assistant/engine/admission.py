"""Whether a waiting sequence may start: places by class, cells with some to spare, and prompts that
are better served by waiting for a common beginning. Decisions only; the batcher acts on them.
"""

from collections.abc import Sequence as Items

import msgspec

from ai_assistant.engine.residence import Known
from ai_assistant.engine.sequence import Sequence
from ai_assistant.kvcache.blocks import common_prefix
from ai_assistant.kvcache.cache import KvCache
from ai_assistant.protocol.requests import Priority

WORTH_WAITING = 64
"""Tokens in common with a prompt that is being computed, from which waiting for it pays."""
RESERVE = 32
"""Cells per running sequence that admission leaves free, so that parking stays rare."""
LOOK_AHEAD = 32
"""Waiting sequences that one admission looks at."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the plan allows."""

    slots: int
    retained: int
    chunk: int
    shares_prefixes: bool
    batch_floor: float = 0.05
    tpot_factor: float = 2.0


def candidates(waiting: list[Sequence], due: Priority | None) -> list[Sequence]:
    """Who may start next: the first of them, one of the class whose turn it is before all."""
    first = waiting[:LOOK_AHEAD]
    if due is None:
        return first
    turn = next((s for s in waiting if s.request.priority == due), None)
    return first if turn is None else [turn, *(s for s in first if s is not turn)]


def has_place(
    priority: Priority, running: Items[Sequence], limits: Limits, due: Priority | None
) -> bool:
    """Whether a sequence of this class may run beside its equals and betters. The class whose
    turn it is may have one place more than there are."""
    places = limits.slots + (priority == due and limits.retained > 0)
    return sum(1 for one in running if one.request.priority <= priority) < places


def better_to_wait(sequence: Sequence, known: int, running: Items[Sequence]) -> bool:
    """Whether a running prompt will soon have computed much of this one's beginning."""
    for other in running:
        if other.remaining > 1 and _goes_before(other, sequence):
            common = common_prefix(other.tokens, sequence.tokens, 0)
            common = min(common, len(sequence.tokens) - 1)
            if common >= known + WORTH_WAITING and other.computed < common:
                return True
    return False


def fits(
    sequence: Sequence,
    known: Known,
    cache: KvCache,
    running: Items[Sequence],
    without: Items[Sequence] = (),
) -> bool:
    """Whether its cells are free, or would be `without` some of those that run. Who runs alone
    always fits: the intake has seen to that."""
    stay = [one for one in running if one not in without]
    if not stay and not without:
        return True
    need = len(sequence.tokens) + RESERVE * (len(stay) + 1)
    if known.hot and not cache.is_retained(known.holder):
        need -= known.hot
    booked = sum(other.remaining for other in stay)
    return cache.available([one.slot for one in without]) >= need + booked


def _goes_before(one: Sequence, other: Sequence) -> bool:
    same_tenant = one.request.tenant == other.request.tenant
    return same_tenant and one.request.priority <= other.request.priority
