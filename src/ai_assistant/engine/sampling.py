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
Rows = NDArray[np.float32]
"""One logit per token of the vocabulary."""
RandomState = tuple[int, tuple[int, ...], float | None]
"""Of Python's Mersenne Twister."""
REPETITION_WINDOW = 64
"""Tokens that the repetition penalty looks back, as llama.cpp's default."""

COLDEST = 1e-4
"""Lower temperatures are greedy: 32-bit numbers cannot tell them apart."""
NEAR = 16.0
"""A token so many temperatures below the best one weighs 1e-7 of it."""
_FAR_WEIGHT = math.exp(-NEAR)
_FLOORS = (-3.0, -6.0, -12.0)
"""Looked for in turn where the largest values are wanted: mostly the first has enough."""


class Mask(Protocol):
    """What a grammar allows next."""

    def mask(self, logits: Row) -> None:
        """Set what is not allowed to minus infinity."""
        ...

    def accept(self, token: int) -> None: ...

    def forced(self) -> list[int]:
        """The tokens that spell what must come next, as the vocabulary would; often none."""
        ...


class Sampler:
    """The choice of one sequence's tokens."""

    def __init__(self, sampling: Sampling, *, index: int = 0, mask: Mask | None = None) -> None:
        """`index` tells the choices of one request apart: each draws its own numbers."""
        temperature = 1.0 if sampling.temperature is None else sampling.temperature
        self.temperature = temperature if temperature >= COLDEST else 0.0
        self.top_k = max(sampling.top_k or 0, 0)
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

    @property
    def numbers(self) -> RandomState:
        """Where the random numbers are: another sampler may go on from there."""
        return self._random.getstate()

    @numbers.setter
    def numbers(self, state: RandomState) -> None:
        self._random.setstate(state)

    def skip(self, count: int) -> None:
        """So many tokens were drawn elsewhere, with the same seed."""
        if self.temperature > 0:
            for _ in range(count):
                self._random.random()

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
    """The token that the uniform number `point` in [0, 1) falls on, after all cuts.

    Exact, but seldom over the whole vocabulary: tokens `NEAR` below the best one, in units of the
    temperature, weigh next to nothing together, and are only weighed where they could matter.
    """
    peak = float(row.max())
    scale = np.float32(1 / temperature)
    if top_k:
        kept, far = _best(row, peak, top_k), 0.0
    else:
        kept = (row >= peak - NEAR * temperature).nonzero()[0]
        far = (len(row) - len(kept)) * _FAR_WEIGHT
    weights = np.exp((row[kept] - peak) * scale)
    if top_p >= 1.0 and min_p <= 0.0:
        return _pick_anywhere(row, kept, weights, far, peak, scale, point)
    place = _pick_cut(weights, far, top_p, min_p, point)
    if place is not None:
        return int(kept[place])
    place = _pick_cut(np.exp((row - peak) * scale), 0.0, top_p, min_p, point)
    assert place is not None
    return place


def _best(row: Row, peak: float, count: int) -> NDArray[np.intp]:
    """The `count` largest values' ids. Whoever finds that many above a floor has the largest."""
    for floor in _FLOORS:
        found = (row >= peak + floor).nonzero()[0]
        if len(found) >= count:
            break
    else:
        found = np.arange(len(row))
    if len(found) <= count:
        return found
    return found[np.argpartition(row[found], -count)[-count:]]


def _pick_cut(weights: Row, far: float, top_p: float, min_p: float, point: float) -> int | None:
    """The index that `point` falls on within the nucleus and above the floor, largest first.

    None where it depends on what the tokens that are not here weigh, at most `far` together.
    """
    if far and 0 < min_p < _FAR_WEIGHT:
        return None
    heavy = weights
    ids: NDArray[np.intp] | None = None
    mass = top_p * (float(weights.sum()) + far)
    for floor in _FLOORS:
        ids = (weights >= math.exp(floor)).nonzero()[0]
        heavy = weights[ids]
        if floor <= math.log(min_p or 1e-30) or float(heavy.sum()) > mass:
            break
    else:
        ids, heavy = None, weights
    order = np.argsort(-heavy, kind="stable")
    sums = np.cumsum(heavy[order], dtype=np.float64)
    count = len(sums)
    if top_p < 1.0:
        low, high = np.searchsorted(sums, (mass - top_p * far, mass))
        if low != high:
            return None
        count = min(count, int(high) + 1)
    if min_p > 0:
        count = max(1, min(count, int((heavy >= min_p).sum())))
    place = int(order[_pick(sums[:count], point)])
    return place if ids is None else int(ids[place])


def _pick_anywhere(
    row: Row,
    near: NDArray[np.intp],
    weights: Row,
    far: float,
    peak: float,
    scale: np.float32,
    point: float,
) -> int:
    """A draw from the whole vocabulary, of which the far tokens weigh at most `far`.

    The first part of [0, 1) belongs to the near tokens whatever the far ones weigh; only in the
    rest, a few of ten thousand draws, the far ones are weighed and everybody gets what is due.
    """
    sums = np.cumsum(weights, dtype=np.float64)
    total = float(sums[-1])
    share = total / (total + far)
    if point < share:
        return int(near[_pick(sums, point / share)])
    every = np.exp((row - peak) * scale).astype(np.float64)
    due = every / every.sum()
    due[near] -= share * weights / total
    sums = np.cumsum(np.maximum(due, 0.0))
    return _pick(sums, (point - share) / (1 - share))


def _pick(sums: NDArray[np.float64], point: float) -> int:
    place = int(np.searchsorted(sums, point * float(sums[-1]), side="right"))
    return min(place, len(sums) - 1)


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
