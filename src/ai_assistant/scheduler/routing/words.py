"""The decision in words: for `?explain`, for headers, for a log. Made only when somebody reads."""

from collections.abc import Sequence

from msgspec import structs

from ai_assistant.protocol.routing import Decision, Term, Weighed
from ai_assistant.scheduler.routing.decide import Choice, Ranked
from ai_assistant.scheduler.routing.facts import Ask, CandidateFacts
from ai_assistant.scheduler.routing.predict import Prediction, predict


def reason(choice: Choice, candidates: Sequence[CandidateFacts]) -> str:
    """Why the first one is first, in a line."""
    kept = [candidates[place].name for place, one in choice.refused.items() if one.kind == "rules"]
    said = f"; the rules keep it from {', '.join(kept)}" if kept else ""
    return _first(choice, candidates) + said


def _first(choice: Choice, candidates: Sequence[CandidateFacts]) -> str:
    if not choice.ranked:
        return "nobody can answer"
    first = choice.ranked[0]
    one = candidates[first.place]
    if choice.meanwhile is not None:
        return f"{candidates[choice.meanwhile].name} is being loaded"
    if one.standby == "fallback":
        return "none of the models can answer now"
    if len(choice.ranked) == 1:
        return "the only one that can" if choice.refused else "the only one"
    if one.weight:
        held = f"it holds {one.cached_tokens:,} tokens of it" if one.cached_tokens else "by weight"
        return f"weighted set: {held}"
    if choice.objective == "order":
        return "first in the owner's order"
    return f"{choice.objective}: {_against(choice, candidates)}"


def _against(choice: Choice, candidates: Sequence[CandidateFacts]) -> str:
    """The figure that the objective looks at, beside the next one's."""
    first, second = choice.ranked[0], choice.ranked[1]
    one, other = _figure(choice, first, candidates), _figure(choice, second, candidates)
    return f"{one}; {candidates[second.place].name} {other}"


def _figure(choice: Choice, found: Ranked, candidates: Sequence[CandidateFacts]) -> str:
    expected = found.expected
    match choice.objective:
        case "cost":
            return dollars(expected.cost)
        case "quality":
            return f"{candidates[found.place].quality:.0f} points"
        case "latency":
            return f"{expected.seconds:.2f} s"
        case _:
            return f"{expected.seconds:.2f} s and {dollars(expected.cost)}"


def dollars(amount: float | None) -> str:
    """An amount as people read it."""
    if amount is None:
        return "an unknown price"
    return f"${amount:.2f}" if amount >= 1 else f"${amount:.6f}".rstrip("0").rstrip(".")


def explained(
    asked: str, choice: Choice, candidates: Sequence[CandidateFacts], ask: Ask, took: float
) -> Decision:
    """Everything; `took`: seconds."""
    turns = {found.place: turn for turn, found in enumerate(choice.ranked, start=1)}
    ranked = [_ranked(found, turns[found.place], candidates, ask) for found in choice.ranked]
    out = [_refused(candidates[place], one.why, ask) for place, one in choice.refused.items()]
    return Decision(
        asked=asked,
        objective=choice.objective,
        reason=reason(choice, candidates),
        candidates=(*ranked, *out),
        microseconds=round(took * 1e6, 1),
    )


def _ranked(found: Ranked, turn: int, candidates: Sequence[CandidateFacts], ask: Ask) -> Weighed:
    weighed = _weighed(candidates[found.place], found.expected, ask)
    return structs.replace(weighed, turn=turn, fallback=found.fallback, score=found.score)


def _refused(one: CandidateFacts, why: str, ask: Ask) -> Weighed:
    return structs.replace(_weighed(one, predict(one, ask), ask), refused=why)


def _weighed(one: CandidateFacts, expected: Prediction, ask: Ask) -> Weighed:
    return Weighed(
        worker=one.name,
        place=one.place,
        ttft=expected.ttft,
        tpot=expected.tpot,
        cost=expected.cost,
        quality=one.quality,
        terms=terms(one, expected, ask),
    )


def terms(one: CandidateFacts, expected: Prediction, ask: Ask) -> tuple[Term, ...]:
    """What adds up to the prediction, and what else was looked at."""
    seen, guess = one.pace, one.guess
    first = seen.first if seen.first is not None else guess.first or 0.0
    rate = seen.per_prompt_token if seen.per_prompt_token is not None else guess.per_prompt_token
    fresh = max(ask.prompt_tokens - one.cached_tokens, 0)
    found = [
        Term("queue", f"{one.queue:.3f} s"),
        Term("load", f"{one.load:.3f} s", "in memory" if not one.load else "not in memory"),
        Term("first token", f"{first:.3f} s", _origin(seen.first)),
        Term(
            "prompt",
            f"{expected.prefill:.3f} s",
            f"{fresh:,} of {ask.prompt_tokens:,} tokens to compute, "
            f"{(rate or 0.0) * 1e3:.3f} ms each, {_origin(seen.per_prompt_token)}",
        ),
        Term(
            "answer",
            f"{ask.answer_tokens * expected.tpot:.3f} s",
            f"{ask.answer_tokens:,} tokens, {expected.tpot * 1e3:.2f} ms each, "
            f"{_origin(seen.tpot)}",
        ),
        Term("cost", dollars(expected.cost), _price(one)),
        Term("quality", f"{one.quality:.0f}", "guessed" if one.quality_guessed else "as set"),
    ]
    if one.error_rate:
        found.append(Term("errors", f"{one.error_rate:.1%}", "of the last requests"))
    if one.weight:
        found.append(Term("weight", f"{one.weight:g}"))
    if one.standby:
        found.append(Term("stands by", one.standby))
    if one.redacted:
        found.append(Term("rules", "placeholders", "protected words are replaced before it goes"))
    return tuple(found)


def _origin(seen: float | None) -> str:
    return "guessed" if seen is None else "measured"


def _price(one: CandidateFacts) -> str:
    if one.price is None:
        return "not known"
    if one.price.input or one.price.output:
        return f"${one.price.input:g} and ${one.price.output:g} per million tokens"
    return "energy" if one.energy else "the owner's machine"
