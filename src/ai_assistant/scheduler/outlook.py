"""What jobs ask of the routes: which servers a model needs, and whether a cloud has it too."""

from ai_assistant.scheduler.candidates import Candidates


class Outlook:
    """Implements `jobs.ports.Rules`."""

    def __init__(self, candidates: Candidates) -> None:
        self._candidates = candidates

    def needs_network(self, model: str) -> tuple[str, ...]:
        """The addresses of all that have it; none where a model here does, if only as the owner's
        fallback."""
        found = self._candidates.of(model)
        away = [one.remote.offer.address for one in found if one.remote]
        return tuple(dict.fromkeys(away)) if len(away) == len(found) else ()

    def may_spill(self, model: str) -> bool:
        """Whether it is here and elsewhere."""
        found = self._candidates.of(model)
        return any(one.remote for one in found) and not all(one.remote for one in found)
