"""What keeps a candidate from being asked at all: abilities, limits, rules, errors."""

from typing import Literal

import msgspec

from ai_assistant.protocol.routing import Wishes
from ai_assistant.scheduler.routing.facts import Ask, CandidateFacts
from ai_assistant.scheduler.routing.predict import Prediction, affordable

_ROOM = 0.8
"""A prompt is measured by its characters: one that seems a little too long may yet fit."""
_UNKNOWN = "its price is unknown, and there is a limit"
_IN_WORDS = {
    "chat": "chats",
    "text": "plain texts",
    "tools": "tools",
    "json": "JSON schemas",
    "grammar": "grammars",
    "logprobs": "log-probabilities",
    "vision": "pictures",
    "embeddings": "vectors",
}


class Refused(msgspec.Struct, frozen=True):
    """Why one must not be asked."""

    kind: Literal["rest", "rules", "unable", "limit", "budget"]
    why: str


def refusal(one: CandidateFacts, ask: Ask, wishes: Wishes, expected: Prediction) -> Refused | None:
    """Why it must not be asked; None: it may. The rules are named before everything else."""
    if one.kept:
        return Refused("rules", one.kept)
    if why := _elsewhere(one, wishes) or too_dear(one, ask, wishes):
        return Refused("limit", why)
    if why := _unable(one, ask):
        return Refused("unable", why)
    if one.rest:
        return Refused("rest", one.rest)
    if why := _too_slow(one, wishes, expected):
        return Refused("limit", why)
    if wishes.budget is not None and (why := _unpaid(one, ask, wishes.budget)):
        return Refused("budget", why)
    return None


def _unable(one: CandidateFacts, ask: Ask) -> str:
    if missing := ask.abilities - one.abilities:
        return f"it has no {', '.join(sorted(_IN_WORDS[ability] for ability in missing))}"
    need = ask.prompt_tokens * _ROOM + (ask.most_tokens or 0)
    if one.context is not None and need > one.context:
        return f"its context of {one.context:,} tokens is too short for {need:,.0f}"
    return ""


def _elsewhere(one: CandidateFacts, wishes: Wishes) -> str:
    if one.place == "process" or within(one.region, wishes.regions):
        return ""
    return f"it computes in {one.region or 'a region that is not declared'}"


def within(region: str, regions: tuple[str, ...]) -> bool:
    """Whether that is one of them; what is not declared is nowhere, and no regions are all."""
    return not regions or (bool(region) and region.casefold() in map(str.casefold, regions))


def too_dear(one: CandidateFacts, ask: Ask, wishes: Wishes) -> str:
    """Whether a limit on money keeps it out."""
    limit, dollars = wishes.max_price_per_million, wishes.max_price
    if limit is not None:
        if one.price is None:
            return _UNKNOWN
        dearest = max(one.price.input, one.price.output)
        if dearest > limit:
            return f"it costs ${dearest:g} per million tokens, more than ${limit:g}"
    return "" if dollars is None else _unpaid(one, ask, dollars)


def _unpaid(one: CandidateFacts, ask: Ask, dollars: float) -> str:
    """Whether so much does not pay for it."""
    if one.price is None:
        return _UNKNOWN
    tokens = affordable(one, ask, dollars)
    # Without a limit on its length an answer is cut where the money ends, but not before the
    # length that is expected.
    wanted = ask.answer_tokens if ask.most_tokens is None else ask.most_tokens
    if tokens is None or tokens >= max(wanted, 1):
        return ""
    if not wanted:  # vectors
        return f"its {ask.prompt_tokens:,} tokens may cost more than ${dollars:g}"
    thinking = f" and {one.thinking:,} of thinking" if one.thinking else ""
    return f"{wanted:,} tokens of answer{thinking} may cost more than ${dollars:g}"


def _too_slow(one: CandidateFacts, wishes: Wishes, expected: Prediction) -> str:
    limit = wishes.max_ttft
    if limit is None or expected.late <= limit:
        return ""
    if not expected.measured and one.queue + one.load <= limit:
        return ""  # nobody knows yet, and nobody would if it were never asked
    return f"its first token may take {expected.late:.2f} s, more than {limit:g} s"
