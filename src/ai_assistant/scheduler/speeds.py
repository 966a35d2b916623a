"""Guesses for what was never measured: speeds by size, quality by size or price."""

import math
from collections.abc import Mapping

from ai_assistant.protocol.egress import Place
from ai_assistant.protocol.offers import Offer
from ai_assistant.protocol.status import ModelInfo
from ai_assistant.scheduler.routing.facts import Pace

_MEMORY = 10e9
"""Bytes a second that an ordinary machine reads from memory: every token reads all weights."""
_ARITHMETIC = 50e9
"""Operations a second of an ordinary machine; a prompt token takes two for each weight."""
_DISK = 0.5e9
_START = 0.5
_ELSEWHERE: dict[Place, Pace] = {
    "machine": Pace(first=0.1, per_prompt_token=2e-3, tpot=0.05),
    "lan": Pace(first=0.2, per_prompt_token=1e-3, tpot=0.03),
    "cloud": Pace(first=0.8, per_prompt_token=5e-5, tpot=0.015),
}


def guess_here(model: ModelInfo) -> Pace:
    """A model on this machine, by the bytes and weights of its file."""
    return Pace(
        first=0.02,
        per_prompt_token=2 * max(model.parameters, model.size_bytes) / _ARITHMETIC,
        tpot=model.size_bytes / _MEMORY,
        load=_START + model.size_bytes / _DISK,
    )


def guess_elsewhere(offer: Offer) -> Pace:
    """A model elsewhere, by whose network it is in."""
    return _ELSEWHERE[offer.place]


def quality_here(model: ModelInfo, said: Mapping[str, float]) -> tuple[float, bool]:
    """Points, and whether they are a guess: 12 for ten times the weights, 32 at a milliard."""
    if model.id in said:
        return said[model.id], False
    return _within(32 + 12 * math.log10(max(model.parameters, 1e6) / 1e9)), True


def quality_elsewhere(offer: Offer, said: Mapping[str, float]) -> tuple[float, bool]:
    """The same for a model elsewhere: 12 for ten times the price, 62 at a dollar a million."""
    for name in (f"{offer.provider}/{offer.model}", offer.model, *offer.names):
        if name in said:
            return said[name], False
    if offer.price is None or not offer.price.output:
        return (50.0, True)
    return _within(62 + 12 * math.log10(offer.price.output)), True


def _within(points: float) -> float:
    return min(max(points, 5.0), 95.0)
