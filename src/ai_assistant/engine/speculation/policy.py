"""How many guessed tokens are worth verifying: expected tokens per measured second.

A draft of k tokens is worth 1 + p1 + p1 p2 + ... tokens (Leviathan et al., arXiv 2211.17192) and
makes the step longer for everybody in it, so the whole step is weighed: all its expected tokens
over its seconds. The acceptance p belongs to what is known about a guess: how long the text has
agreed with it. SuffixDecoding (arXiv 2411.04975) ties the length of a draft to that as well.

There are no probes. A guess that is not verified is compared with the token that comes anyway: its
chances are learned at each step for nothing, and speculation that is off costs no decode time.
"""

import heapq
from collections.abc import Callable, Sequence

from ai_assistant.engine.speculation.repeats import LONGEST

MARGIN = 1.02
"""What a step must gain before anything is drafted: figures are not exact, Python is not free."""
PROMPT_WORTH = 0.25
"""A prompt's token in the step, against a token of an answer: somebody waits for it too."""
MOST = 64
"""Tokens of one guess at most."""

# What is known about a guess: a level for each range of lengths of agreement.
_OWN_STARTS = (0, 3, 4, 6, 8, 16, LONGEST)
_PAST_STARTS = (0, 1, 2, 4, 8)
_REVISED_STARTS = (0, 1, 2, 4, 8, 16)
_OWN_PRIORS = (0.32, 0.46, 0.59, 0.67, 0.75, 0.85, 0.95)
"""Measured on 32,000 tokens of this project's texts."""
_PAST_PRIORS = (0.30, 0.50, 0.65, 0.80, 0.90)
"""Assumed, in the same spirit: soon replaced by what is observed."""
_REVISED_PRIORS = (0.15, 0.54, 0.77, 0.90, 0.96, 0.99)
"""Measured on 126 changes of this project's files, new text after old."""


def _levels(starts: tuple[int, ...], first: int) -> tuple[int, ...]:
    """The level of each length of agreement, for lengths before and within a guess."""
    lengths = range(LONGEST + MOST + 1)
    return tuple(first - 1 + sum(start <= length for start in starts) for length in lengths)


OWN = _levels(_OWN_STARTS, 0)
"""Level of a guess from the request's own text, by the tokens that match it."""
PAST = _levels(_PAST_STARTS, len(_OWN_STARTS))
"""Level of a guess from past answers, by how many of them were right just before."""
REVISED = _levels(_REVISED_STARTS, len(_OWN_STARTS) + len(_PAST_STARTS))
"""Level of a guess in a text that is said again with changes, by how many were right since one."""
FORCED = len(_OWN_STARTS) + len(_PAST_STARTS) + len(_REVISED_STARTS)
"""Level of what a grammar leaves no choice about, but how it is cut into tokens."""
MODEL = FORCED + 1
"""Level of any token of a draft model's: what is expected before it is asked."""
_SURE_BOUNDS = (0.4, 0.7, 0.9)
_SURE_PRIORS = (0.3, 0.5, 0.7, 0.9)
"""Assumed: a draft model that knows the chances of its own tokens."""
MODEL_PRIOR = 0.6
"""Before any was seen: Leviathan et al. found 0.5 to 0.9 for a model and a smaller one like it."""
_PRIORS = (*_OWN_PRIORS, *_PAST_PRIORS, *_REVISED_PRIORS, 0.9, MODEL_PRIOR, *_SURE_PRIORS)


def sure(chance: float) -> int:
    """Level of a token to which the draft model itself gives this chance."""
    return MODEL + 1 + sum(bound <= chance for bound in _SURE_BOUNDS)


STRENGTH = 4.0
"""Observations that the prior weighs as much as."""
REQUEST_WINDOW = 64.0
"""Observations after which a request's older ones have faded."""
SHARED_WINDOW = 1024.0
"""The same, for what requests have in common."""


class Acceptance:
    """How often guesses of each level were right: fading counts, drawn towards a prior.

    A request's has its tenant's as prior, that one the engine's; each hears of what is observed.
    """

    __slots__ = ("_hits", "_keep", "_prior", "_trials", "expected")

    def __init__(self, prior: "Acceptance | None" = None, *, window: float = SHARED_WINDOW) -> None:
        self._prior = prior
        self._keep = 1 - 1 / window
        self.expected = list(prior.expected if prior else _PRIORS)
        """The chance of a guess of each level, from 0 to 1."""
        self._hits = [0.0] * len(self.expected)
        self._trials = [0.0] * len(self.expected)

    def observe(self, level: int, right: bool) -> None:
        """A guess of this level turned out to be right or wrong, verified or not."""
        prior = self._prior
        if prior is None:
            drawn_to = _PRIORS[level]
        else:
            prior.observe(level, right)
            drawn_to = prior.expected[level]
        hits = self._hits[level] * self._keep + right
        trials = self._trials[level] * self._keep + 1
        self._hits[level], self._trials[level] = hits, trials
        self.expected[level] = (hits + STRENGTH * drawn_to) / (trials + STRENGTH)

    def chances(self, levels: tuple[int, ...], agreed: int, count: int) -> list[float]:
        """The chance of each of `count` guessed tokens, those before it being right.

        Whenever one is right the text agrees with the guess for one more token, so that the
        levels of longer agreement speak for the later tokens.
        """
        expected = self.expected
        return [expected[level] for level in levels[agreed : agreed + count]]


def draft_length(
    chances: Sequence[float], others: int, step_seconds: Callable[[int], float], most: int
) -> int:
    """How many of one guess's tokens to verify, beside `others` sequences that draft nothing."""
    return allocate([chances], others, step_seconds, most)[0]


def allocate(
    candidates: Sequence[Sequence[float]],
    others: int,
    step_seconds: Callable[[int], float],
    room: int,
    *,
    prompt: int = 0,
    margin: float = MARGIN,
) -> list[int]:
    """How many tokens each guess may have verified in the same step: the best shares there are.

    `candidates`: for each sequence with a guess, the chances of its tokens, each one's given that
    those before it are right. `others`: sequences that decode one token in this step without a
    guess; `prompt`: tokens of prompts in it. `step_seconds(n)`: seconds of a step of n tokens in
    all, positive and not falling with n. `room`: draft tokens that fit.

    A sequence's next token never gains more than the one before it, so for any number of draft
    tokens the best are those taken one by one by their gain; the best number of them is looked for
    to where no later one could win, so a step in `step_seconds` (a tile's end) hides nothing.
    """
    heap = [(-chances[0], index) for index, chances in enumerate(candidates) if chances]
    heapq.heapify(heap)
    size = prompt + others + len(candidates)
    worth = others + len(candidates) + PROMPT_WORTH * prompt
    if not heap or room <= 0:
        return [0] * len(candidates)
    best_rate = worth / step_seconds(size) * margin
    best = 0
    taken: list[int] = []
    used = [0] * len(candidates)
    while heap and len(taken) < room:
        gain, index = -heap[0][0], heap[0][1]
        seconds = step_seconds(size + 1)
        if worth + gain * (room - len(taken)) <= best_rate * seconds:
            break
        worth += gain
        size += 1
        taken.append(index)
        used[index] += 1
        if worth > best_rate * seconds:
            best_rate, best = worth / seconds, len(taken)
        chances = candidates[index]
        if used[index] < len(chances):
            heapq.heapreplace(heap, (-gain * chances[used[index]], index))
        else:
            heapq.heappop(heap)
    return [taken[:best].count(index) for index in range(len(candidates))]
