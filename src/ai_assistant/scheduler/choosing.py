"""One of a name's models for work that is done in one piece, and why nobody can do it.

Vectors of another model would be others: there is no next one to ask.
"""

from collections.abc import Sequence

from msgspec import structs

from ai_assistant.protocol.errors import AssistantError, ProviderError, RequestError
from ai_assistant.protocol.offers import Ability
from ai_assistant.protocol.requests import EmbedRequest, TextPrompt
from ai_assistant.protocol.routing import Wishes
from ai_assistant.scheduler.candidates import Candidate, soonest
from ai_assistant.scheduler.routing.decide import Choice, decide
from ai_assistant.scheduler.routing.facts import Ask, CandidateFacts
from ai_assistant.scheduler.routing.need import tokens_of

_VECTORS: frozenset[Ability] = frozenset({"embeddings"})
NOTHING = Ask(prompt_tokens=0, answer_tokens=0)
"""No words are written and none are paid."""


class LimitsTooTight(RequestError):
    """Nobody keeps to the limits of the request, its key or its route."""

    code = "no_candidate_within_limits"


def first(
    name: str,
    found: Sequence[Candidate],
    facts: Sequence[CandidateFacts],
    wishes: Wishes,
    ask: Ask,
) -> Candidate:
    """The first of the owner's order, or by the wished objective, that keeps to all limits.

    Weights draw no lots here. Raises what `nobody` gives.
    """
    choice = decide([structs.replace(one, weight=0.0) for one in facts], ask, wishes)
    # Who seems unable knows it better, and whoever keeps the budget says until when it is spent.
    doubtful = [at for at, one in choice.refused.items() if one.kind in ("unable", "budget")]
    places = [one.place for one in choice.ranked] or doubtful
    if not places:
        raise nobody(name, found, facts, choice)
    return found[places[0]]


def ask_for_vectors(request: EmbedRequest) -> Ask:
    """The request as the decision sees it."""
    texts = sum(tokens_of(one.text) for one in request.inputs if isinstance(one, TextPrompt))
    given = sum(len(one.tokens) for one in request.inputs if not isinstance(one, TextPrompt))
    return Ask(prompt_tokens=texts + given, answer_tokens=0, most_tokens=0, abilities=_VECTORS)


def nobody(
    name: str, found: Sequence[Candidate], facts: Sequence[CandidateFacts], choice: Choice
) -> AssistantError:
    """Why nobody may be asked, each candidate with what keeps it out."""
    refused = choice.refused
    told = "; ".join(f"{facts[at].name}: {one.why}" for at, one in refused.items())
    if any(one.kind == "rest" for one in refused.values()):
        return ProviderError(
            f"Nobody can be asked for {name} now ({told}). `ai-assistant providers test` says "
            "more.",
            retry_after=soonest(found),
        )
    return LimitsTooTight(
        f"Nobody may answer {name} within the limits ({told}). Loosen a limit, or see "
        "`ai-assistant route`."
    )
