"""Which tokens go into the next decode call: a pure decision from who runs and how long steps take.

Streams go before prompts, higher classes before lower ones. A prompt is cut so that the streams
beside it do not stand still for long (chunked prefill: Sarathi-Serve, arXiv 2403.02310), and so
that whoever comes next does not wait long for the end of a step. How often streams bear a piece
beside them is decided by their allowance.
"""

from collections.abc import Sequence as Items
from typing import Protocol

import msgspec

from ai_assistant.engine.sequence import Sequence
from ai_assistant.protocol.requests import Priority

STEP_SECONDS = {Priority.INTERACTIVE: 1.0, Priority.NORMAL: 1.0, Priority.BATCH: 0.1}
"""How long a step with a prompt of each class may take where no stream waits for it."""
EFFICIENT = {Priority.INTERACTIVE: 256, Priority.NORMAL: 256, Priority.BATCH: 64}
"""Tokens below which such a step would waste the machine, however long they take."""
CROWD_SECONDS, CROWD = 0.25, 64
"""The same where several sequences run: then it is likely that somebody waits for its end, and a
step of 64 tokens makes 93 % of the tokens per second that one of 256 makes (docs/LOG.md)."""
SHORT = 128
"""A prompt with at most so many tokens left does not wait for a long one."""
PAUSE_SECONDS = {Priority.INTERACTIVE: 0.1, Priority.NORMAL: 0.25, Priority.BATCH: 0.5}
"""How long a stream of each class may stand still for a piece of a prompt."""
SMALLEST = {Priority.INTERACTIVE: 16, Priority.NORMAL: 64, Priority.BATCH: 64}
"""Tokens of a prompt that a step beside streams of each class computes at least."""
TILE = 64
"""From so many tokens in a step on, libllama's attention on processors works in tiles and passes
over other sequences' cells quickly; a smaller step at a deep place can take longer."""


class Pace(Protocol):
    """How long steps take."""

    def seconds(self, tokens: int) -> float | None: ...
    def tokens_within(self, seconds: float) -> int: ...
    def empty(self, tokens: int) -> float | None:
        """Seconds over an empty context; None: never measured."""
        ...


class Part(msgspec.Struct, frozen=True):
    """The next `count` tokens of a sequence, and `draft`: guesses that follow them."""

    sequence: Sequence
    count: int
    draft: tuple[int, ...] = ()


def compose(
    running: Items[Sequence],
    pace: Pace,
    chunk: int,
    *,
    due: Priority | None = None,
    spare: bool = True,
    short_first: bool = False,
) -> list[Part]:
    """The parts of the next step, at most `chunk` tokens; `running` in order.

    `due` is the class whose turn it is although a higher one has work; `spare` says whether the
    streams of the highest class can bear others beside them (see `Allowance`). With `short_first`
    long prompts have to wait where there is a short one and steps are slow (see `Turns`).
    """
    active = [sequence for sequence in running if sequence.restoring is None]
    writing = [sequence for sequence in active if sequence.remaining == 1]
    reading = [sequence for sequence in active if sequence.remaining > 1]
    if due is not None and (turn := [s for s in reading if s.request.priority == due]):
        reading = turn
    protected = protected_streams(writing)
    if protected and reading and reading[0].request.priority < protected[0].request.priority:
        protected = ()
    if reading and writing and writing[0].request.priority == Priority.BATCH:
        # Nobody watches these streams. In a step of their own they cost less: a stream in a
        # prompt's step makes attention look at the cells of both.
        writing, protected = [], ()
    others = spare or not protected
    streams = writing if others else _without_lower(writing, protected, due)
    parts = [Part(sequence, 1) for sequence in streams[:chunk]]
    if not reading or not (others or reading[0].request.priority == due):
        return parts
    first = reading[0].request.priority
    crowd = sum(1 for sequence in active if sequence.request.priority <= first) > 1
    budget = _budget(first, len(parts), protected, pace, chunk, crowd=crowd)
    watched = protected and protected[0].request.priority == Priority.INTERACTIVE
    most = budget if watched else max(chunk - len(parts), 0)
    return parts + _prompts(reading, budget, most, short_first=short_first)


def protected_streams(writing: Items[Sequence]) -> Items[Sequence]:
    """The streams whose pace is kept: those of the highest class."""
    if not writing or writing[-1].request.priority == writing[0].request.priority:
        return writing
    return [s for s in writing if s.request.priority == writing[0].request.priority]


def _without_lower(
    writing: Items[Sequence], protected: Items[Sequence], due: Priority | None
) -> Items[Sequence]:
    if len(protected) == len(writing):
        return writing
    return [*protected, *(s for s in writing[len(protected) :] if s.request.priority == due)]


def _prompts(reading: list[Sequence], budget: int, most: int, *, short_first: bool) -> list[Part]:
    """Pieces of the first prompts, all of one class: `budget` tokens, or up to `most` where short
    ones come before."""
    priority = reading[0].request.priority
    equals = [sequence for sequence in reading if sequence.request.priority == priority]
    short = _short(equals, budget, most)
    long = [sequence for sequence in equals if sequence not in short]
    if short and long and short_first and budget <= CROWD:
        long, budget = [], min(max(budget, short[0].remaining), most)
    elif short and long:
        taken = sum(sequence.remaining for sequence in short)
        budget = min(max(budget, taken + max(budget, taken) // 2), most)
    parts: list[Part] = []
    for sequence in [*short, *long]:
        count = _piece(sequence.remaining, budget)
        if count <= 0:
            break
        parts.append(Part(sequence, count))
        budget -= count
    return parts


def _short(equals: list[Sequence], budget: int, most: int) -> list[Sequence]:
    """Short prompts for half of the step, or one at least: a long one loses little by that and
    they win much."""
    room = max(budget // 2, min(SHORT, most - budget // 2))
    short: list[Sequence] = []
    for sequence in equals:
        if sequence.remaining <= min(SHORT, room):
            short.append(sequence)
            room -= sequence.remaining
    return short


def _piece(remaining: int, budget: int) -> int:
    """Tokens of one prompt: all that the budget allows, but no small rest for a step of its own."""
    if TILE <= budget < remaining < budget + TILE:
        return max(remaining - TILE, min(TILE, budget))
    return min(remaining, budget)


def _budget(
    first: Priority,
    streams: int,
    protected: Items[Sequence],
    pace: Pace,
    chunk: int,
    *,
    crowd: bool,
) -> int:
    """Tokens of prompts for this step."""
    room = max(chunk - streams, 0)
    if pace.seconds(1) is None:
        return min(room, max(chunk // 4, 1))
    seconds, least = STEP_SECONDS[first], EFFICIENT[first]
    if crowd:
        seconds, least = min(seconds, CROWD_SECONDS), min(least, CROWD)
    if protected:
        seconds = min(seconds, PAUSE_SECONDS[protected[0].request.priority])
        least = SMALLEST[protected[0].request.priority]
    return min(room, max(pace.tokens_within(seconds) - streams, least))
