"""What asking one candidate would take and cost.

TTFT = queue + load + first + (prompt - cached) x per prompt token
cost = price of the prompt, the cached part at its own price, of the answer and of all the thinking
       that it may have; on the owner's machines the energy of the seconds that it computes
"""

import msgspec

from ai_assistant.protocol.chunks import Usage
from ai_assistant.protocol.offers import Price
from ai_assistant.scheduler.routing.facts import Ask, CandidateFacts

MARGIN = 1.3
"""Prompts are measured by their characters: a hard limit counts on so many times the tokens."""
_ENDLESS = 2.0**31


class Prediction(msgspec.Struct, frozen=True):
    """Seconds and dollars."""

    prefill: float
    """For the part of the prompt that must be computed."""
    ttft: float
    late: float
    """The first token comes later than this once in ten times."""
    tpot: float
    seconds: float
    """Until the whole answer is there, failures counted in."""
    cost: float | None
    measured: bool
    """The speed was seen, not guessed."""


def predict(one: CandidateFacts, ask: Ask) -> Prediction:
    """What is to be expected of it."""
    seen, guess = one.pace, one.guess
    per_token = _first(seen.per_prompt_token, guess.per_prompt_token)
    tpot = _first(seen.tpot, guess.tpot)
    prefill = max(ask.prompt_tokens - one.cached_tokens, 0) * per_token
    ttft = one.queue + one.load + _first(seen.first, guess.first) + prefill
    answer = ask.answer_tokens * tpot
    # Who fails one time in two is asked twice on average, and each failure costs a first token.
    failing = min(one.error_rate, 0.9)
    wasted = failing / (1 - failing) * max(ttft, 1.0)
    return Prediction(
        prefill=prefill,
        ttft=ttft,
        late=ttft + seen.spread,
        tpot=tpot,
        seconds=ttft + wasted + answer,
        cost=cost_of(one, ask, ask.answer_tokens, busy=prefill + answer),
        measured=seen.first is not None,
    )


def cost_of(one: CandidateFacts, ask: Ask, answer: int, *, busy: float) -> float | None:
    """Dollars for an answer of so many tokens, and its thinking; None: the price is unknown."""
    if one.price is None:
        return None
    usage = Usage(
        prompt_tokens=ask.prompt_tokens,
        completion_tokens=answer + one.thinking,
        cached_tokens=min(one.cached_tokens, ask.prompt_tokens),
    )
    return one.price.of(usage) + busy * one.energy


def affordable(one: CandidateFacts, ask: Ask, dollars: float) -> int | None:
    """Tokens of answer that so much pays for, whatever is cached and beside all the thinking; None:
    as many as one likes."""
    price = one.price or Price(input=float("inf"), output=float("inf"))
    read, thought = ask.prompt_tokens * MARGIN * price.input, one.thinking * price.output
    left = dollars - (read + thought) / 1_000_000
    if left < 0:
        return 0
    tokens = left * 1_000_000 / price.output if price.output > 0 else float("inf")
    return int(tokens) if tokens < _ENDLESS else None


def _first(seen: float | None, guess: float | None) -> float:
    return seen if seen is not None else guess or 0.0
