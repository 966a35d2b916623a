"""Which tokens go into the next decode call: a pure decision from who runs and how long steps take.

Streams go before prompts, higher classes before lower ones. A prompt is cut so that the streams
beside it keep their time per output token (chunked prefill: Sarathi-Serve, arXiv 2403.02310), and
so that whoever comes next does not wait long for the end of a step.
"""

from collections.abc import Sequence as Items
from typing import Protocol

import msgspec

from ai_assistant.engine.sequence import Sequence
from ai_assistant.protocol.requests import Priority

PATIENCE = {Priority.INTERACTIVE: 1.0, Priority.NORMAL: 4.0, Priority.BATCH: 32.0}
"""Times `tpot_factor`: how much slower a stream of each class may become beside a prompt."""
STEP_SECONDS = {Priority.INTERACTIVE: 0.5, Priority.NORMAL: 0.5, Priority.BATCH: 0.25}
"""How long a step with a prompt of each class may take where no stream waits for it."""
EFFICIENT = {Priority.INTERACTIVE: 128, Priority.NORMAL: 128, Priority.BATCH: 64}
"""Tokens below which such a step would waste the machine, however long they take."""
SMALLEST = 4
"""Tokens of a prompt that a step beside streams computes at least."""


class Pace(Protocol):
    """How long steps take."""

    def seconds(self, tokens: int) -> float | None: ...
    def tokens_within(self, seconds: float) -> int: ...


class Rules(msgspec.Struct, frozen=True):
    """What the plan says."""

    chunk: int
    tpot_factor: float


class Part(msgspec.Struct, frozen=True):
    """The next `count` tokens of a sequence, and `draft`: guesses that follow them."""

    sequence: Sequence
    count: int
    draft: tuple[int, ...] = ()


def compose(
    running: Items[Sequence], pace: Pace, rules: Rules, due: Priority | None = None
) -> list[Part]:
    """The parts of the next step; `running` in order, `due` is the class whose turn it is."""
    active = [sequence for sequence in running if sequence.restoring is None]
    writing = [sequence for sequence in active if sequence.remaining == 1]
    reading = [sequence for sequence in active if sequence.remaining > 1]
    if due is not None and (turn := [s for s in reading if s.request.priority == due]):
        reading = turn
    streams = _streams(writing, pace, rules, due)[: rules.chunk]
    parts = [Part(sequence, 1) for sequence in streams]
    return parts + _prompts(reading, streams, pace, rules)


def _streams(
    writing: list[Sequence], pace: Pace, rules: Rules, due: Priority | None
) -> list[Sequence]:
    """The streams that go on: all of the highest class, of lower ones as many as it bears."""
    if not writing:
        return []
    top = writing[0].request.priority
    first = [s for s in writing if s.request.priority == top]
    alone = pace.seconds(len(first))
    if alone is None or len(first) == len(writing):
        return writing
    bearable = pace.tokens_within(alone * rules.tpot_factor * PATIENCE[top])
    rest = [s for s in writing[len(first) :] if s.request.priority != due]
    turn = [s for s in writing[len(first) :] if s.request.priority == due]
    return first + turn + rest[: max(0, bearable - len(first) - len(turn))]


def _prompts(
    reading: list[Sequence], streams: list[Sequence], pace: Pace, rules: Rules
) -> list[Part]:
    if not reading:
        return []
    priority = reading[0].request.priority
    budget = _budget(priority, streams, pace, rules)
    parts: list[Part] = []
    for sequence in reading:
        count = min(sequence.remaining, budget)
        if count <= 0 or sequence.request.priority != priority:
            break
        parts.append(Part(sequence, count))
        budget -= count
    return parts


def _budget(priority: Priority, streams: list[Sequence], pace: Pace, rules: Rules) -> int:
    """Tokens of prompts for this step."""
    room = rules.chunk - len(streams)
    protected = [s for s in streams if s.request.priority <= priority]
    alone = pace.seconds(len(protected)) if protected else None
    if alone is not None:
        patience = rules.tpot_factor * PATIENCE[protected[0].request.priority]
        fits = pace.tokens_within(alone * patience) - len(streams)
        return max(min(fits, room), min(SMALLEST, room), 0)
    if protected:
        return min(room, max(rules.chunk // 4, 1))
    fits = pace.tokens_within(STEP_SECONDS[priority]) - len(streams)
    return max(min(room, max(fits, EFFICIENT[priority])), 0)
