"""Who may be asked for a model, and in which order: a pure decision from facts."""

from collections.abc import Sequence

import msgspec

from ai_assistant.protocol.offers import WorkerFacts


class Seen(msgspec.Struct, frozen=True):
    """One worker elsewhere, by its place in the owner's settings, as its traffic shows it."""

    place: int
    facts: WorkerFacts


def order(workers: Sequence[Seen]) -> list[int]:
    """The places of those that may be asked, the best first.

    Whoever works goes first, in the owner's order; then who is being tried again, if nobody tries
    it now. Who refused the key, or was left alone for a while, is not asked.
    """
    well = [one.place for one in workers if one.facts.state == "ok"]
    again = [
        one.place for one in workers if one.facts.state == "probing" and not one.facts.in_flight
    ]
    return well + again


def soonest(workers: Sequence[Seen]) -> float | None:
    """Seconds until one of them may be asked again; None: waiting is no use."""
    waits = [one.facts.again_in for one in workers if one.facts.state in ("cooling", "probing")]
    return max(min(waits), 1.0) if waits else None
