"""What one layer, and all that is outside the layers, costs on one device: from two trials.

Two stand-ins of a model that differ only in their number of layers are timed with the same steps.
Their difference is layers and nothing else; the rest is embedding, output and the step itself.
"""

from bisect import bisect_left

import msgspec

from ai_assistant.protocol.layout import Case, TrialReport

STEPS = (1, 2, 4, 8, 16, 32, 128, 512)
"""Tokens of the steps that are timed."""
DEPTH = 512
"""Tokens before the step that shows what attention costs."""
CASES = (*(Case(tokens) for tokens in STEPS), Case(1, DEPTH), Case(DEPTH, DEPTH))
TILE = 64
"""From so many tokens in a step on, attention works in tiles and costs less per token."""
CACHE = 192 << 20
"""Bytes of layers that no processor's cache holds: smaller stand-ins would look too quick."""


class Curve(msgspec.Struct, frozen=True):
    """Seconds by tokens: a line between what was measured, and on beyond it."""

    tokens: tuple[int, ...]
    seconds: tuple[float, ...]

    def at(self, tokens: int) -> float:
        """Seconds of a step with so many tokens."""
        if len(self.tokens) == 1:
            return self.seconds[0] * tokens / self.tokens[0]
        right = min(max(bisect_left(self.tokens, tokens), 1), len(self.tokens) - 1)
        first, second = self.tokens[right - 1], self.tokens[right]
        share = (tokens - first) / (second - first)
        line = self.seconds[right - 1] * (1 - share) + self.seconds[right] * share
        return max(line, 0.0)


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """Of one device."""

    layer: Curve
    outside: Curve
    """All that is not in the layers."""
    attention: float
    """Seconds per token, layer and token before it, in small steps."""
    tiled: float
    """The same in large steps."""
    compute_bytes: int
    """Working memory of the largest step."""

    def looking_back(self, tokens: int) -> float:
        """Seconds per token, layer and token before it, in a step of so many."""
        return self.tiled if tokens >= TILE else self.attention


def stand_ins(sizes: list[int]) -> tuple[int, int]:
    """How many layers the two stand-ins of a model with layers of these sizes should have."""
    short = min(_until(sizes, 0, CACHE // 2), max(len(sizes) // 2, 1))
    # Twice as many at least: a smaller difference would make much of small disturbances.
    return short, max(_until(sizes, short, CACHE), min(max(2 * short, short + 4), len(sizes)))


def _until(sizes: list[int], start: int, wanted: int) -> int:
    """Where from `start` on there are so many bytes, at least a layer on."""
    end, total = start, 0
    while end < len(sizes) - (start == 0) and (total < wanted or end == start):
        total += sizes[end]
        end += 1
    return end


def costs(short: TrialReport, long: TrialReport, layers: tuple[int, int], device: str) -> Costs:
    """From the trials of two stand-ins with so many layers; `device` as in `TrialReport.memory`."""
    less, more = _flat(short), _flat(long)
    steps = sorted(one.tokens for one in less if not one.depth)
    each = [max(more[Case(n)] - less[Case(n)], 0.0) / (layers[1] - layers[0]) for n in steps]
    rest = [
        max(less[Case(n)] - layers[0] * layer, 0.0) for n, layer in zip(steps, each, strict=True)
    ]

    def slower(tokens: int) -> float:
        deep, flat = more.get(Case(tokens, DEPTH)), more.get(Case(tokens))
        if deep is None or flat is None:
            return 0.0
        return max(deep - flat, 0.0) / layers[1] / tokens / DEPTH

    attention = slower(1)
    return Costs(
        layer=Curve(tuple(steps), tuple(each)),
        outside=Curve(tuple(steps), tuple(rest)),
        attention=attention,
        tiled=slower(DEPTH) or attention,
        compute_bytes=long.memory.get(f"compute/{device}", 0),
    )


def _flat(report: TrialReport) -> dict[Case, float]:
    return {one.case: one.seconds for one in report.times}
