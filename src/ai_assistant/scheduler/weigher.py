"""From a request to its decision, and from answers to better ones."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import structs

from ai_assistant.protocol.requests import GenerateRequest
from ai_assistant.protocol.routing import Decision, Wishes, together
from ai_assistant.scheduler.candidates import Candidate, Candidates
from ai_assistant.scheduler.routing.decide import Choice, Ranked, decide
from ai_assistant.scheduler.routing.facts import Ask, CandidateFacts
from ai_assistant.scheduler.routing.lines import as_lines_go
from ai_assistant.scheduler.routing.need import Reading, ask_of, read
from ai_assistant.scheduler.routing.predict import affordable
from ai_assistant.scheduler.routing.prefixes import Prefixes
from ai_assistant.scheduler.routing.words import explained, reason
from ai_assistant.scheduler.turn import Ended, Turn

if TYPE_CHECKING:  # A node whose models are all here loads no detectors.
    from ai_assistant.policy.examine import Examined
    from ai_assistant.policy.gate import Gate

_USUAL_ANSWER = 256
"""Tokens of an answer before any was seen."""
_NEWEST = 0.1


class Weighing(msgspec.Struct, frozen=True, kw_only=True):
    """One decision with all that went into it."""

    request: GenerateRequest
    found: list[Candidate]
    facts: list[CandidateFacts]
    ask: Ask
    wishes: Wishes
    reading: Reading
    choice: Choice
    seconds: float
    """That it took, without reading the text for the rules."""

    def explained(self) -> Decision:
        """In words."""
        return explained(self.request.model, self.choice, self.facts, self.ask, self.seconds)

    def turns(self) -> list[Turn]:
        """Who is asked, one after the other.

        Whom the rules refuse stands at the end: the gate says no, and writes down that it did.
        Where nobody else is left, so do those who seem unable, who know it better, and those for
        whom the budget is too small: whoever keeps it says so, and until when.
        """
        why = reason(self.choice, self.facts)
        last = len(self.choice.ranked) - 1
        turns = [
            self._turn(ranked, why, final=at == last)
            for at, ranked in enumerate(self.choice.ranked)
        ]
        kinds = ("rules",) if turns else ("rules", "unable", "budget")
        refused = self.choice.refused.items()
        return turns + [
            Turn(
                candidate=self.found[place],
                reason=one.why,
                answer_tokens=self.ask.answer_tokens,
            )
            for kind in kinds
            for place, one in refused
            if one.kind == kind
        ]

    def _turn(self, ranked: Ranked, why: str, *, final: bool) -> Turn:
        facts = self.facts[ranked.place]
        dollars = self.wishes.max_price
        return Turn(
            candidate=self.found[ranked.place],
            reason=why,
            fallback=ranked.fallback,
            why=why if ranked.fallback else "",
            # The last one may take its time: a late answer is better than none.
            patience=None if final else self.wishes.max_ttft,
            most_tokens=None if dollars is None else affordable(facts, self.ask, dollars),
            prompt_tokens=self.ask.prompt_tokens,
            answer_tokens=self.ask.answer_tokens,
            expected_cost=ranked.expected.cost,
            energy=facts.energy,
        )


class Weigher:
    """Collects facts and decides; it never waits."""

    def __init__(
        self, candidates: Candidates, *, online: Callable[[], bool], kept: dict[str, float]
    ) -> None:
        """`kept`: seconds that caches of workers keep what they computed, where they are known."""
        self._candidates = candidates
        self._online = online
        self._kept = kept
        self._prefixes = Prefixes()
        self._usual: dict[str, float] = {}

    def weigh(
        self,
        request: GenerateRequest,
        found: list[Candidate],
        wishes: Wishes,
        *,
        gate: "Gate | None" = None,
        examined: "Examined | None" = None,
    ) -> Weighing:
        """The decision for one request."""
        began = time.perf_counter()
        route = self._candidates.route(request.model)
        wishes = together(route.limits, wishes)
        reading = read(request)
        usual = int(self._usual.get(request.model, _USUAL_ANSWER))
        ask = ask_of(request, reading, usual_answer=usual)
        held = self._prefixes.held(reading.marks, time.monotonic(), kept=self._kept)
        facts = self._candidates.facts(found, held=held, online=self._online())
        if gate and examined:
            facts = _after_the_rules(found, facts, gate, examined)
        facts = _with_thinking(found, as_lines_go(request.origin, facts), request)
        choice = decide(
            facts, ask, wishes, objective=route.objective, while_loading=route.while_loading
        )
        return Weighing(
            request=request,
            found=found,
            facts=facts,
            ask=ask,
            wishes=wishes,
            reading=reading,
            choice=choice,
            seconds=time.perf_counter() - began,
        )

    def learn(self, weighing: Weighing, ended: Ended) -> None:
        """How one turn went."""
        one, last = ended.turn.candidate, ended.last
        learned = self._candidates.learned.get(one.name)
        expected = weighing.facts[weighing.found.index(one)].cached_tokens
        if last is None or last.usage is None:
            patience = ended.turn.patience
            if learned and patience is not None and ended.waited >= patience:
                learned.note_first(weighing.ask.prompt_tokens - expected, ended.waited)
            return
        usage, name = last.usage, weighing.request.model
        self._prefixes.note(weighing.reading.marks, one.name, time.monotonic())
        self._prefixes.learn(one.name, expected, usage.cached_tokens)
        old = self._usual.get(name, float(usage.completion_tokens))
        self._usual[name] = old + _NEWEST * (usage.completion_tokens - old)
        if learned is None:  # The scheduler notes what our own engines do.
            return
        computed = max(usage.prompt_tokens - usage.cached_tokens, 0)
        crowd = one.remote.facts().in_flight if one.remote else 0
        learned.note_first(computed, ended.waited, crowd)
        if last.timings and usage.completion_tokens > 1 and last.timings.decode_ms > 0:
            seconds = last.timings.decode_ms / 1000 / (usage.completion_tokens - 1)
            learned.note_pace(seconds, crowd)


def _with_thinking(
    found: Sequence[Candidate], facts: Sequence[CandidateFacts], request: GenerateRequest
) -> list[CandidateFacts]:
    """The facts, with what each of them may think beyond the answers' limit."""
    told: list[CandidateFacts] = []
    for one, fact in zip(found, facts, strict=True):
        tokens = one.remote.thinking(request) * request.n if one.remote else 0
        told.append(structs.replace(fact, thinking=tokens) if tokens else fact)
    return told


def _after_the_rules(
    found: Sequence[Candidate],
    facts: Sequence[CandidateFacts],
    gate: "Gate",
    examined: "Examined",
) -> list[CandidateFacts]:
    """The facts, with what the owner's rules say of the text for each of them."""
    decisions = gate.decide(examined, [one.destination for one in found])
    told: list[CandidateFacts] = []
    for one, decision in zip(facts, decisions, strict=True):
        if decision.action == "refuse":
            told.append(structs.replace(one, kept=f"the rules: {decision.reason}"))
        elif decision.action == "redact":
            told.append(structs.replace(one, redacted=True))
        else:
            told.append(one)
    return told
