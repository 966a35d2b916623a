"""What jobs ask of the routes: which servers a line needs, and whether a cloud may have it too."""

from typing import TYPE_CHECKING

from ai_assistant.protocol.requests import GenerateRequest
from ai_assistant.protocol.routing import NO_WISHES, covers, together
from ai_assistant.scheduler.candidates import Candidate, Candidates
from ai_assistant.scheduler.routing.limits import within

if TYPE_CHECKING:  # A node whose models are all here loads no detectors.
    from ai_assistant.policy.gate import Gate


class Outlook:
    """Implements `jobs.ports.Rules`. Only those count that may have the line, as far as its key,
    its batch and the owner's rules say without its text."""

    def __init__(self, candidates: Candidates, gate: "Gate | None") -> None:
        self._candidates = candidates
        self._gate = gate

    def needs_network(self, line: GenerateRequest) -> tuple[str, ...]:
        """The addresses of all that may have it; none where a model here does, if only as the
        owner's fallback."""
        found = self._allowed(line)
        away = [one.remote.offer.address for one in found if one.remote]
        return tuple(dict.fromkeys(away)) if len(away) == len(found) else ()

    def may_spill(self, line: GenerateRequest) -> bool:
        """Whether it may be answered here and elsewhere."""
        found = self._allowed(line)
        return any(one.remote for one in found) and not all(one.remote for one in found)

    def _allowed(self, line: GenerateRequest) -> list[Candidate]:
        route = self._candidates.route(line.model)
        wishes = together(route.limits, line.wishes or NO_WISHES)
        found = [
            one
            for one in self._candidates.of(line.model)
            if covers(wishes.models, *one.names)
            and (one.remote is None or within(one.remote.offer.region, wishes.regions))
        ]
        if self._gate is None:
            return found
        decisions = self._gate.foresee(line, [one.destination for one in found])
        return [
            one
            for one, decision in zip(found, decisions, strict=True)
            if decision.action != "refuse"
        ]
