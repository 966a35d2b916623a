"""The guesses of one sequence: at each step the better of two sources, and how far to trust it."""

from array import array
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from ai_assistant.engine.speculation.ngrams import CONTEXT, History
from ai_assistant.engine.speculation.policy import (
    FORCED,
    MOST,
    OWN,
    PAST,
    REQUEST_WINDOW,
    REVISED,
    Acceptance,
)
from ai_assistant.engine.speculation.repeats import LONGEST, Repeats
from ai_assistant.engine.speculation.revision import COPYING, Revision

SLICE = 4_096
"""Tokens of a prompt that one step takes in: under 2 ms."""
HOPELESS = 0.05
"""A guess whose first token is right less often is none."""


Source = Literal["text", "past", "grammar", "model"]
"""Who guesses: the request's own text, past answers, what a grammar forces, a draft model."""


class Guess(NamedTuple):
    """What may come next."""

    tokens: "array[int]"
    """Empty when there is no guess."""
    matched: int
    """Tokens of agreement that it rests on."""
    chances: list[float]
    """For each token the chance that it is right, those before it being right."""
    source: Source = "text"


NOTHING = Guess(array("i"), 0, [])


class DrafterState(msgspec.Struct, frozen=True):
    """How a drafter is doing."""

    ready: bool
    """The prompt is taken in."""
    matched: int
    """Tokens that the sequence's end has in common with an earlier place in it."""
    drafted: int
    accepted: int


class Drafter:
    """Guesses for one sequence.

    Reads the sequence's own `tokens`, to which the engine appends what was accepted, and nothing
    else: what is new is noticed, and what was guessed compared with it, at the next call.
    """

    __slots__ = ("_history", "_past", "_prompt", "_repeats", "_revision", "_run", "_tokens",
                 "acceptance", "accepted", "drafted", "source")  # fmt: skip

    def __init__(self, tokens: "array[int]", history: History, acceptance: Acceptance) -> None:
        """`history` and `acceptance` are the tenant's. What is there now is the prompt."""
        self._tokens = tokens
        self._prompt = len(tokens)
        self._history = history
        self.acceptance = Acceptance(acceptance, window=REQUEST_WINDOW)
        self._repeats = Repeats(tokens)
        self._revision = Revision(tokens)
        self._past: int | None = None
        """The next token by past answers."""
        self._run = 0
        """How many of those were right lately, one after the other."""
        self.source: Source = "text"
        """Of the latest guess."""
        self.drafted = 0
        self.accepted = 0

    def absorb(self, budget: int) -> bool:
        """Take in at most `budget` tokens of the prompt; True when all are. For moments when the
        thread waits anyway; otherwise `candidates` does it, a slice a step."""
        indexed = self._repeats.indexed
        if indexed < self._prompt:
            self._repeats.absorb(min(indexed + budget, self._prompt))
            if self._repeats.indexed < self._prompt:
                return False
            self._look_back(self._prompt)
        return True

    def candidates(self, most: int) -> Guess:
        """At most `most` tokens that may come next."""
        self.source = "text"
        if self._repeats.indexed < self._prompt and not self.absorb(SLICE):
            return NOTHING
        if self._repeats.indexed < len(self._tokens):
            self._catch_up()
        return self._guess(min(most, MOST)) if most > 0 else NOTHING

    def forced(self, tokens: list[int]) -> Guess:
        """A guess of what a grammar forces."""
        self.source = "grammar"
        chances = [self.acceptance.expected[FORCED]] * len(tokens)
        return Guess(array("i", tokens), 0, chances, "grammar")

    def modelled(self, tokens: Sequence[int], levels: Sequence[int]) -> Guess:
        """A guess of a draft model's, with the levels of what is known of each token."""
        self.source = "model"
        expected = self.acceptance.expected
        return Guess(array("i", tokens), 0, [expected[level] for level in levels], "model")

    def observe(self, drafted: int, accepted: int) -> None:
        """Count `drafted` tokens that were verified, the first `accepted` of them right. Chances
        are learned from the tokens themselves, whether drafted or not; those of forced ones here:
        whether one was right says how the model cuts text, and nobody else asks that."""
        self.drafted += drafted
        self.accepted += accepted
        if self.source == "grammar":
            for place in range(min(accepted + 1, drafted)):
                self.acceptance.observe(FORCED, place < accepted)

    def finish(self) -> None:
        """The answer is complete: its tenant's later requests may repeat it."""
        self._history.add(self._tokens[max(self._prompt - CONTEXT, 0) :])

    @property
    def state(self) -> DrafterState:
        """For reports and tests."""
        ready = self._repeats.indexed >= self._prompt
        return DrafterState(ready, self._repeats.length, self.drafted, self.accepted)

    def _catch_up(self) -> None:
        """Compare each new token with what would have been guessed."""
        repeats, tokens, acceptance = self._repeats, self._tokens, self.acceptance
        for position in range(repeats.indexed, len(tokens)):
            self._revise(position)
            matched = repeats.length
            right = repeats.advance()
            if matched:
                acceptance.observe(OWN[matched], right)
            if self._past is not None:
                right = self._past == tokens[position]
                acceptance.observe(PAST[self._run], right)
                self._run = min(self._run + 1, LONGEST) if right else 0
            else:
                self._run = 0
            if self._history:
                self._look_back(position + 1)

    def _revise(self, position: int) -> None:
        """Compare the token there with what an edited text would have."""
        revision, repeats = self._revision, self._repeats
        if revision.place:
            right = revision.expected == self._tokens[position]
            self.acceptance.observe(REVISED[min(revision.run, LONGEST)], right)
            revision.advance(position)
        elif repeats.length >= COPYING:
            revision.follow(repeats.end, repeats.length)
            revision.advance(position)

    def _look_back(self, end: int) -> None:
        """Ask past answers for the token after the first `end` ones."""
        context = self._tokens[max(end - CONTEXT, 0) : end]
        self._past = self._history.next(context)

    def _guess(self, most: int) -> Guess:
        expected, matched = self.acceptance.expected, self._repeats.length
        run = min(self._revision.run, LONGEST)
        own = expected[OWN[matched]] if matched else 0.0
        revised = expected[REVISED[run]] if self._revision.place else 0.0
        past = expected[PAST[self._run]] if self._past is not None else 0.0
        best = max(own, revised, past)
        if best < HOPELESS:
            return NOTHING
        if best == own:
            tokens, levels, agreed = self._repeats.following(most), OWN, matched
        elif best == revised:
            tokens, levels, agreed = self._revision.following(most), REVISED, run
        else:
            tokens = self._history.following(self._tokens[-CONTEXT:], most)
            levels, agreed, self.source = PAST, self._run, "past"
        chances = self.acceptance.chances(levels, agreed, len(tokens))
        return Guess(tokens, agreed, chances, self.source)
