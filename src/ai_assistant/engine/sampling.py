"""From a row of logits to a token: exact, in numpy, with no array of candidate structs.

Order: bias, mask, penalties, temperature, top-k, top-p, min-p, draw (as vLLM and transformers).
The row is libllama's own buffer and is edited in place: the next decode overwrites it.
"""

import math
import random
from array import array
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ai_assistant.protocol.requests import Sampling

Row = NDArray[np.float32]
"""One logit per token of the vocabulary."""
REPETITION_WINDOW = 64
"""Tokens that the repetition penalty looks back, as llama.cpp's default."""

_FLOORS = (-6.0, -12.0, -20.0)


class Mask(Protocol):
    """What a grammar allows next."""

    def mask(self, logits: Row) -> None:
        """Set what is not allowed to minus infinity."""
        ...

    def accept(self, token: int) -> None: ...


class Sampler:
    """The choice of one sequence's tokens."""

    def __init__(self, sampling: Sampling, *, index: int = 0, mask: Mask | None = None) -> None:
        """`index` tells the choices of one request apart: each draws its own numbers."""
        self.temperature = 1.0 if sampling.temperature is None else sampling.temperature
        self.top_k = sampling.top_k or 0
        self.top_p = 1.0 if sampling.top_p is None else sampling.top_p
        self.min_p = sampling.min_p or 0.0
        self.repetition = sampling.repetition_penalty or 1.0
        self.presence = sampling.presence_penalty
        self.frequency = sampling.frequency_penalty
        self.bias = sampling.logit_bias
        self.mask = mask
        self._counts: dict[int, int] = {}
        seed = None if sampling.seed is None else sampling.seed * 1_000_003 + index
        self._random = random.Random(seed)
        edits = self.bias or mask or self.repetition != 1.0 or self.presence or self.frequency
        self.plain_greedy = self.temperature <= 0 and not edits
        """The answer is the row's largest value: no call of `choose` is needed."""

    def choose(self, row: Row, tokens: "array[int]") -> int:
        """The next token after `tokens`."""
        self._edit(row, tokens)
        if self.temperature <= 0:
            return int(row.argmax())
        return draw(
            row, self.temperature, self.top_k, self.top_p, self.min_p, self._random.random()
        )

    def accept(self, token: int) -> None:
        """The token was chosen."""
        if self.mask:
            self.mask.accept(token)
        if self.presence or self.frequency:
            self._counts[token] = self._counts.get(token, 0) + 1

    def _edit(self, row: Row, tokens: "array[int]") -> None:
        for token, bias in self.bias.items():
            if 0 <= token < len(row):
                row[token] += bias
        if self.mask:
            self.mask.mask(row)
        if self.repetition != 1.0:
            recent = np.array(tokens[-REPETITION_WINDOW:], np.int64)
            values = row[recent]
            row[recent] = np.where(values > 0, values / self.repetition, values * self.repetition)
        if self._counts:
            seen = np.fromiter(self._counts.keys(), np.int64, len(self._counts))
            times = np.fromiter(self._counts.values(), np.float32, len(self._counts))
            row[seen] -= self.presence + self.frequency * times


def draw(row: Row, temperature: float, top_k: int, top_p: float, min_p: float, point: float) -> int:
    """The token that the uniform number `point` in [0, 1) falls on, after all cuts."""
    scaled = (row - row.max()) / np.float32(temperature)
    if not top_k and top_p >= 1.0 and min_p <= 0.0:
        return _pick(np.exp(scaled), point)
    kept, total = _candidates(scaled, top_k, top_p, min_p)
    kept = kept[np.argsort(-scaled[kept], kind="stable")]
    if top_k:
        kept = kept[:top_k]
    weights = np.exp(scaled[kept])
    if top_p < 1.0:
        before = np.cumsum(weights, dtype=np.float64) - weights
        whole = float(weights.sum()) if top_k else total
        count = max(1, int(np.searchsorted(before, top_p * whole, side="left")))
        kept, weights = kept[:count], weights[:count]
    if min_p > 0:
        count = max(1, int((weights >= min_p).sum()))
        kept, weights = kept[:count], weights[:count]
    return int(kept[_pick(weights, point)])


def _candidates(
    scaled: Row, top_k: int, top_p: float, min_p: float
) -> tuple[NDArray[np.intp], float]:
    """Ids that hold every token which survives the cuts, and the weight of the whole vocabulary
    where it matters. The largest value of `scaled` is 0, so its weight is 1.

    Most of the vocabulary is never sorted: whoever finds k tokens above a floor has the k best;
    and a token below (1 - top_p) / V of the whole cannot be in the nucleus, for all such tokens
    together weigh less than what the nucleus leaves out.
    """
    if top_k:
        for floor in _FLOORS:
            found = np.flatnonzero(scaled >= floor)
            if len(found) >= top_k:
                return found, 0.0
        return np.arange(len(scaled)), 0.0
    if top_p >= 1.0:
        return np.flatnonzero(scaled >= math.log(min_p)), 0.0
    total = float(np.exp(scaled).sum())
    floor = math.log(max(1.0 - top_p, 1e-9) * total / len(scaled))
    # The largest value always stays, also where rounding lifts the floor above it.
    return np.flatnonzero(scaled >= min(floor, 0.0)), total


def _pick(weights: Row, point: float) -> int:
    sums = np.cumsum(weights, dtype=np.float64)
    place = int(np.searchsorted(sums, point * float(sums[-1]), side="right"))
    return min(place, len(weights) - 1)


def log_probabilities(row: Row, token: int, count: int) -> tuple[float, list[int], list[float]]:
    """The chosen token's natural-log probability, and the `count` likeliest ids with theirs.

    Of the model's own distribution, before bias, penalties and temperature.
    """
    peak = float(row.max())
    total = peak + math.log(float(np.exp(row - peak).sum(dtype=np.float64)))
    if not count:
        return float(row[token]) - total, [], []
    likeliest = np.argpartition(row, -count)[-count:]
    likeliest = likeliest[np.argsort(-row[likeliest], kind="stable")]
    return (
        float(row[token]) - total,
        likeliest.tolist(),
        [float(row[i]) - total for i in likeliest],
    )
