"""How often a draft model is asked before a step: expected tokens per measured second.

A round is one decode call of the draft model, a token for each sequence. Unlike a guess from the
text it costs time before it is known, so the choice is made with what is expected of any token.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

WORTH = 1.05
"""What a step must gain: more than for guesses that cost nothing."""
ROUNDS = 16
"""At most, in one step."""


class Choice(NamedTuple):
    """What a draft model is asked for."""

    rounds: int
    gain: float
    """Seconds that each token of the streams comes sooner."""


NONE = Choice(0, 0.0)


def choose_rounds(
    chances: Sequence[float],
    streams: int,
    step_seconds: Callable[[int], float],
    draft_seconds: Callable[[int], float],
    most: int,
    *,
    first: int = 0,
) -> Choice:
    """The number of rounds with the most tokens per second; 0 where drafting does not pay.

    `chances`: for each sequence to be drafted for, that a drafted token is right. `streams`:
    sequences in the step. `step_seconds(n)` and `draft_seconds(n)`: of a step of n tokens, and of a
    round. `most`: drafted tokens that fit in all. `first`: tokens of the first round, where the
    draft model lags behind by more than one each.
    """
    count = len(chances)
    if not count or most < count:
        return NONE
    plain = step_seconds(streams)
    least = streams / plain * WORTH
    worth, drafting, best = float(streams), 0.0, NONE
    best_rate = least
    chains = list(chances)
    beyond = sum(chance / (1 - min(chance, 0.99)) for chance in chances)
    for rounds in range(1, min(ROUNDS, most // count) + 1):
        drafting += draft_seconds(max(first, count) if rounds == 1 else count)
        seconds = step_seconds(streams + rounds * count) + drafting
        if (streams + beyond) / seconds <= best_rate:
            break  # not even if all the later ones were free
        worth += sum(chains)
        if worth / seconds > best_rate:
            best_rate = worth / seconds
            best = Choice(rounds, plain / streams - 1 / best_rate)
        chains = [chain * chance for chain, chance in zip(chains, chances, strict=True)]
    return best


def another_round(
    worth: float,
    seconds: float,
    chains: Sequence[float],
    expected: Sequence[float],
    more_seconds: float,
) -> bool:
    """Whether one more round pays, now that it is known how sure the draft model is of its tokens.

    `worth` tokens are expected so far of `seconds`; `chains`: for each sequence that would go on,
    the chance that all of its tokens so far are right; `expected`: that the next one is, then.
    """
    gain = sum(chain * chance for chain, chance in zip(chains, expected, strict=True))
    return gain * seconds > worth * more_seconds
