"""Lines of batches: they stay here while there is time, and go elsewhere when there is none."""

from collections.abc import Sequence

from msgspec import structs

from ai_assistant.protocol.requests import Origin
from ai_assistant.scheduler.routing.facts import CandidateFacts

STAYS = "lines of batches stay here while there is time"


def as_lines_go(origin: Origin, facts: Sequence[CandidateFacts]) -> list[CandidateFacts]:
    """The facts for a line; those of other requests are left alone.

    Where a model here has the name, the others rest for lines that have time, and it stands behind
    them for a line that is late. One that is only the owner's fallback here changes nothing.
    """
    here = [one for one in facts if one.place == "process" and one.standby != "fallback"]
    if not origin.job or not here:
        return list(facts)
    if not origin.spill:
        return [
            one if one.place == "process" else structs.replace(one, rest=one.rest or STAYS)
            for one in facts
        ]
    if not any(one.place != "process" and not one.rest and not one.kept for one in facts):
        return list(facts)
    return [
        structs.replace(one, standby="fallback") if one.place == "process" else one for one in facts
    ]
