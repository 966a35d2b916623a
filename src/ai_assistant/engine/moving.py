"""A new plan for an engine that runs, on the weights that it has: its sequences leave the KV cache
and come back into another one. Where weights have to be laid out anew, see `handover.py`.
"""

import threading
from array import array
from collections.abc import Iterable
from collections.abc import Sequence as Items

import msgspec

from ai_assistant.engine.admission import RESERVE
from ai_assistant.engine.changes import Depth, depth
from ai_assistant.engine.kernels import Context, Model
from ai_assistant.engine.pins import compute as pin
from ai_assistant.engine.sequence import Sequence, length_limit
from ai_assistant.engine.setup import Parts, around, connect, make_context, open_cold
from ai_assistant.kvcache.blocks import common_prefix
from ai_assistant.kvcache.tiers import WORTH_SHARING
from ai_assistant.kvcache.warm import WarmStore
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.errors import AssistantError, EngineError, InvalidRequest

CLOSE_SECONDS = 20.0
"""How long what is not on disk yet may take, beside the engine's work."""


class Change(msgspec.Struct, frozen=True):
    """From one plan to another."""

    old: EnginePlan
    new: EnginePlan

    @property
    def same_states(self) -> bool:
        """Whether saved KV cells fit both."""
        return self.old.kv_type == self.new.kv_type


def move(parts: Parts, change: Change, model: Model) -> tuple[Parts, AssistantError | None]:
    """The engine's parts under the new plan; with an error they are those of the old one.

    Between two steps. Raises `LoadError` where the kernels refuse both plans: then nothing is left.
    """
    old, new = change.old, change.new
    if depth(old, new) is Depth.WEIGHTS:
        return parts, EngineError("This plan lays the weights out anew: that takes a new process.")
    if problem := misfit([*parts.batcher.running, *parts.batcher.waiting], new):
        return parts, problem
    if depth(old, new) <= Depth.SETTINGS:
        made = around(new, model, parts.context, parts.residence, parts.cold, after=parts)
        return _taken_over(made, parts, new), None
    return _into_new_context(parts, change, model)


def _into_new_context(
    parts: Parts, change: Change, model: Model
) -> tuple[Parts, AssistantError | None]:
    """The sequences' states wait in memory meanwhile, so that one context is enough."""
    parts.batcher.set_aside()
    while parts.residence.room.evict():
        pass
    parts.context.close()
    problem = None
    try:
        context = make_context(change.new, model)
    except Exception as error:  # noqa: BLE001 - whatever it is, the streams go on
        problem = EngineError(f"The kernels refused the new plan, the old one goes on: {error}")
        change = Change(change.old, change.old)
        context = make_context(change.old, model)
    made = _connected(parts, change, model, context)
    made.residence.follow(parts.residence)
    made = _taken_over(made, parts, change.new)
    for sequence in _without_cells(made, change, model):
        made.residence.parking.compute_again(sequence)
    if not change.same_states:
        _pin_again(made)
    if made.cold:
        made.cold.pin_only(made.residence.tiers.warm.pinned)
    return made, problem


def _connected(parts: Parts, change: Change, model: Model, context: Context) -> Parts:
    """New books around a new context; what was saved is kept where it fits."""
    new, cold = change.new, parts.cold
    if not change.same_states or change.old.cold != new.cold:
        if cold:
            threading.Thread(target=cold.close, args=(CLOSE_SECONDS,), daemon=True).start()
        cold = open_cold(new, model)
    warm = parts.residence.tiers.warm
    if not change.same_states:
        warm = WarmStore(new.warm_bytes)
    elif change.old.warm_bytes != new.warm_bytes:
        warm.resize(new.warm_bytes)
    return connect(new, model, context, warm, cold, after=parts)


def _taken_over(made: Parts, parts: Parts, plan: EnginePlan) -> Parts:
    """The new parts with the sequences of the old ones."""
    made.batcher.follow(parts.batcher)
    made.guesses.follow(parts.guesses)
    if plan.draft is None:
        made.guesses.drop_model()
    for sequence in (*made.batcher.running, *made.batcher.waiting):
        sequence.limit = length_limit(sequence.request, sequence.prompt_length, plan.context_limit)
    return made


def _without_cells(made: Parts, change: Change, model: Model) -> list[Sequence]:
    """The sequences that are computed again."""
    waiting = made.batcher.waiting
    if not change.same_states:
        return list(waiting)
    if not model.shares_prefixes:
        return []
    return crowded(waiting, made.context.cells)


def _pin_again(made: Parts) -> None:
    """Pinned prompts are computed before anybody goes on: no tier has them of this KV type."""
    pins = list(made.residence.pinned)
    made.residence.pinned.clear()
    for tokens in pins:
        if len(tokens) < made.context.cells:
            pin(tokens, made.residence, made.context)


# Decisions.


def misfit(sequences: Iterable[Sequence], plan: EnginePlan) -> AssistantError | None:
    """Why these cannot go on under a plan: a stream is never cut for a move."""
    longest = max((len(sequence.tokens) for sequence in sequences), default=0)
    room = min(plan.context_limit, plan.cells)
    return None if longest < room else InvalidRequest(too_long(longest, room), param="context")


def too_long(tokens: int, room: int) -> str:
    """The words for that."""
    return (
        f"A conversation of {tokens} tokens is being answered; a context of {room} cannot hold it. "
        "Try again when it has ended, or ask for a larger one."
    )


def crowded(sequences: Items[Sequence], cells: int) -> list[Sequence]:
    """Whose saved state to forget: each state holds a whole sequence, and where several used the
    same cells, all of them may be too many. Computed again, they share these cells again."""
    held = [sequence for sequence in sequences if sequence.state is not None]
    if sum(sequence.computed + RESERVE for sequence in held) <= cells:
        return []
    kept: list[array[int]] = []
    forgotten: list[Sequence] = []
    for sequence in held:
        if _mostly_begins_like(sequence, kept):
            forgotten.append(sequence)
        else:
            kept.append(sequence.tokens[: sequence.computed])
    return forgotten


def _mostly_begins_like(sequence: Sequence, others: Iterable["array[int]"]) -> bool:
    worth = max(WORTH_SHARING, sequence.computed // 2)
    return any(common_prefix(sequence.tokens, other, 0) >= worth for other in others)
