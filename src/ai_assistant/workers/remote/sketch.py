"""Quantiles of what was seen lately, in bounded memory.

A histogram with buckets that grow by a tenth each (as in DDSketch, Masson et al. 2019), so every
quantile is right to 5 %. Newer observations weigh more (forward decay, Cormode et al. 2009).
"""

import math

import msgspec

from ai_assistant.protocol.offers import Quantiles

_GROWTH = math.log(1.1)
_SMALLEST, _LARGEST = 1e-5, 1e4
_RESCALE = 2.0**60


class Sketch:
    """Positive numbers, such as seconds."""

    def __init__(self, half_life: float) -> None:
        """`half_life`: seconds after which an observation counts half."""
        self._half_life = half_life
        self._weights: dict[int, float] = {}
        self._since = 0.0
        self._now = 0.0
        self._cached: Quantiles | None = None

    def add(self, value: float, now: float) -> None:
        """Note a value, seen at `now` (seconds of any clock that goes forward)."""
        if not self._weights:
            self._since = now
        # A clock that was set back must not make all that follows weightless.
        self._now = now = max(now, self._now)
        weight = 2.0 ** min((now - self._since) / self._half_life, 1000.0)
        if weight > _RESCALE:
            self._rescale(now, weight)
            weight = 1.0
        bucket = math.floor(math.log(min(max(value, _SMALLEST), _LARGEST)) / _GROWTH)
        self._weights[bucket] = self._weights.get(bucket, 0.0) + weight
        self._cached = None

    def quantiles(self) -> Quantiles:
        """The usual three."""
        if self._cached is None:
            self._cached = self._counted()
        return self._cached

    def quantile(self, share: float) -> float | None:
        """The value below which `share` of the weight lies; None: nothing was seen."""
        left = share * sum(self._weights.values())
        for bucket in sorted(self._weights):
            left -= self._weights[bucket]
            if left <= 0:
                return math.exp((bucket + 0.5) * _GROWTH)
        return None

    def _counted(self) -> Quantiles:
        newest = 2.0 ** min((self._now - self._since) / self._half_life, 1000.0)
        return Quantiles(
            count=sum(self._weights.values()) / newest,
            p50=self.quantile(0.5),
            p90=self.quantile(0.9),
            p99=self.quantile(0.99),
        )

    def _rescale(self, now: float, weight: float) -> None:
        shrunk = {bucket: old / weight for bucket, old in self._weights.items()}
        self._weights = {bucket: old for bucket, old in shrunk.items() if old > 1e-9}
        self._since = now

    # What is kept over a restart.

    def state(self) -> "SketchState":
        """Everything, as data."""
        return SketchState(since=self._since, now=self._now, weights=dict(self._weights))

    def restore(self, state: "SketchState") -> None:
        """The opposite; nonsense is left out."""
        self._since, self._now = state.since, max(state.since, state.now)
        low, high = (math.floor(math.log(end) / _GROWTH) for end in (_SMALLEST, _LARGEST))
        self._weights = {
            bucket: weight
            for bucket, weight in state.weights.items()
            if low <= bucket <= high and 0 < weight < float("inf")
        }
        self._cached = None


class SketchState(msgspec.Struct, frozen=True, kw_only=True):
    """A sketch as data: at most some 220 buckets."""

    since: float
    now: float
    weights: dict[int, float]
