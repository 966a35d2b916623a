"""What the real model's steps teach about each term: a factor, bounded, that forgets.

A step says only how long all terms took together. The blame is shared out in proportion to what
each term was predicted to take (normalised least mean squares): steps of different sizes, at
different depths, tell the terms apart in time.
"""

import math

import msgspec

from ai_assistant.devices.layout.predict import TERMS, Factors, Terms

GAIN = 0.2
"""How much of what is left unexplained one step may explain."""
FORGET = 0.002
"""What each step takes off all that was learned."""
LEAST, MOST = 0.5, 2.0
"""No term is off by more: what lies beyond is a disturbance, or another machine."""
DISTURBED = 3.0
"""A step that takes so many times its prediction says nothing about the model."""

SLOWLY = 0.02
"""The weight of one step in how far predictions have strayed."""
FAR = math.log(2.0)
"""From here on what was measured of the layers is not this model here: nothing may be decided by
it."""


def strayed(before: float, expected: float, seconds: float) -> float:
    """How far predictions are off in the long run, as the logarithm of measured by predicted."""
    if expected <= 0 or seconds <= 0:
        return before
    return before + SLOWLY * (math.log(seconds / expected) - before)


def learned(factors: Factors, predicted: Terms, seconds: float) -> Factors:
    """After a step that took so long; `predicted` is without any factor."""
    parts = {name: getattr(predicted, name) for name in TERMS}
    now = {name: getattr(factors, name) for name in TERMS}
    expected = corrected(factors, predicted)
    power = sum(part * part for part in parts.values())
    if not power or not 0 < seconds < DISTURBED * expected:
        return factors
    gain = GAIN * (seconds - expected) / power
    return msgspec.convert(
        {name: _bounded(now[name] + gain * parts[name]) for name in TERMS}, Factors
    )


def corrected(factors: Factors, predicted: Terms) -> float:
    """Seconds of a step, each term by its factor."""
    return sum(getattr(predicted, name) * getattr(factors, name) for name in TERMS)


def _bounded(factor: float) -> float:
    kept = 1 + (factor - 1) * (1 - FORGET)
    return min(max(kept, LEAST), MOST)
