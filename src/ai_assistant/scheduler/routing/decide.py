"""Who is asked first, and who next: a pure decision from facts.

Whoever would break a limit is out. The others are put in order: by the objective, by the owner's
own order, or by weight. Those who only stand by come behind.
"""

from collections.abc import Callable, Sequence

import msgspec

from ai_assistant.protocol.routing import NO_WISHES, Objective, Wishes
from ai_assistant.scheduler.routing.facts import Ask, CandidateFacts, Standby
from ai_assistant.scheduler.routing.limits import Refused, refusal
from ai_assistant.scheduler.routing.predict import Prediction, predict

UNKNOWN_COST = 1.0
"""Dollars that an unknown price counts in a comparison: more than any known one should be."""
_TURN: dict[Standby, int] = {"": 0, "trial": 0, "fallback": 1, "away": 2}


class Worth(msgspec.Struct, frozen=True):
    """What one objective pays: seconds for a dollar and for a point of quality."""

    second: float
    dollar: float
    point: float


WORTH: dict[Objective, Worth] = {
    # A cent is worth a tenth of a second, so that nobody pays much for a blink.
    "latency": Worth(second=1.0, dollar=10.0, point=0.0),
    "cost": Worth(second=1.0, dollar=1e7, point=0.0),
    "quality": Worth(second=1.0, dollar=10.0, point=1e4),
    # An hour of waiting is worth $3.60, and 50 points of quality are worth 10 seconds.
    "balanced": Worth(second=1.0, dollar=1e3, point=0.2),
}


class Ranked(msgspec.Struct, frozen=True):
    """A candidate and its turn."""

    place: int
    """Among the candidates that were given."""
    expected: Prediction
    score: float
    """Lower is better; with `order` the owner's place."""
    fallback: bool = False
    """It is asked only because another one cannot answer, or not yet."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The order in which they are asked, and who is not."""

    objective: Objective
    ranked: tuple[Ranked, ...]
    refused: dict[int, Refused]
    """Why, by place."""
    meanwhile: int | None = None
    """Who would have been first, were it in memory."""


def decide(
    candidates: Sequence[CandidateFacts],
    ask: Ask,
    wishes: Wishes = NO_WISHES,
    *,
    objective: Objective = "order",
    while_loading: bool = False,
) -> Choice:
    """The candidates in the order in which they should be asked.

    `objective` holds unless the wishes name one. `while_loading`: somebody who is ready may
    answer in the place of one that is still to be loaded.
    """
    chosen = wishes.objective or objective
    able: list[Ranked] = []
    refused: dict[int, Refused] = {}
    for place, one in enumerate(candidates):
        expected = predict(one, ask)
        why = refusal(one, ask, wishes, expected)
        if why:
            refused[place] = why
        else:
            score = _score(chosen, place, one, expected)
            able.append(Ranked(place, expected, score, one.standby == "fallback"))
    able.sort(key=lambda found: (_TURN[candidates[found.place].standby], found.score, found.place))
    if wishes.objective is None:
        able = _by_weight(able, candidates, ask.draw)
    meanwhile = None
    if while_loading and able and candidates[able[0].place].load:
        ready = [found for found in able if not candidates[found.place].load]
        if ready and candidates[ready[0].place].standby != "away":
            meanwhile = able[0].place
            cold = [found for found in able if candidates[found.place].load]
            able = [msgspec.structs.replace(ready[0], fallback=True), *ready[1:], *cold]
    return Choice(objective=chosen, ranked=tuple(able), refused=refused, meanwhile=meanwhile)


def _score(objective: Objective, place: int, one: CandidateFacts, expected: Prediction) -> float:
    if objective == "order":
        return float(place)
    worth = WORTH[objective]
    cost = UNKNOWN_COST if expected.cost is None else expected.cost
    return (
        worth.second * expected.seconds + worth.dollar * cost + worth.point * (100.0 - one.quality)
    )


def _by_weight(
    able: list[Ranked], candidates: Sequence[CandidateFacts], draw: float
) -> list[Ranked]:
    """In a weighted set: who holds most of the prompt, else whom the draw falls on, goes first."""
    facts: Callable[[Ranked], CandidateFacts] = lambda found: candidates[found.place]  # noqa: E731
    set_ = [found for found in able if facts(found).weight > 0 and not _TURN[facts(found).standby]]
    if not set_:
        return able
    holder = max(set_, key=lambda found: facts(found).cached_tokens)
    first = holder if facts(holder).cached_tokens else _drawn(set_, facts, draw)
    return [first, *(found for found in able if found is not first)]


def _drawn(set_: list[Ranked], facts: Callable[[Ranked], CandidateFacts], draw: float) -> Ranked:
    left = draw * sum(facts(found).weight for found in set_)
    for found in sorted(set_, key=lambda found: found.place):
        left -= facts(found).weight
        if left < 0:
            return found
    return set_[-1]
