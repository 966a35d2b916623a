"""What one layer, and all that is outside the layers, costs on one device: from two trials.

Two stand-ins of a model that differ only in their number of layers are timed with the same steps.
Their difference is layers and nothing else; the rest is embedding, output and the step itself.
Of a prompt's piece only the last token's logits are wanted, so the last layer leaves out most of
its feed-forward part: the rest may be less than nothing. What looking back at a conversation costs
is the difference between steps behind some tokens and steps behind none. It is measured for three
sizes of step: the kernels have three ways to do it.
"""

from bisect import bisect_left

import msgspec

from ai_assistant.protocol.layout import Case, ModelAnatomy, TrialReport

STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 2048)
"""Tokens of the steps that are timed, as far as the chunk goes."""
DEPTHS = (512, 2048)
"""Tokens before the steps that show what attention costs."""
FEW = 16
"""Tokens of a step in which several streams write."""
TILE = 64
"""From so many tokens in a step on, attention works in tiles and costs less per token."""
PIECE, LARGE = 128, 512
"""Tokens of the largest deep steps: of a processor, where each further one costs the same, and of
whatever a GPU computes."""
OFFLOADED = 32
"""Tokens of a step from which on a GPU computes with weights that lie in main memory."""
ENOUGH = 4
"""Layers whose attention stands out from what is outside of them."""
CACHE = 192 << 20
"""Bytes of layers that no processor's cache holds: smaller stand-ins would look too quick."""

MUCH = 1.5
"""Times that a step may take of what one with more tokens takes: kernels change with the size."""
BEYOND = 2
"""Times what a cache holds: of so much that is read again and again it keeps next to nothing."""


class Curve(msgspec.Struct, frozen=True):
    """Seconds by tokens: a line between what was measured, and on beyond it."""

    tokens: tuple[int, ...]
    seconds: tuple[float, ...]

    def at(self, tokens: float) -> float:
        """Seconds of a step with so many tokens."""
        if len(self.tokens) == 1:
            return self.seconds[0] * tokens / self.tokens[0]
        right = min(max(bisect_left(self.tokens, tokens), 1), len(self.tokens) - 1)
        first, second = self.tokens[right - 1], self.tokens[right]
        share = (tokens - first) / (second - first)
        line = self.seconds[right - 1] * (1 - share) + self.seconds[right] * share
        return max(line, min(0.0, *self.seconds))


FREE = Curve((1,), (0.0,))


class Attention(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds per token and layer, by the number of tokens before it."""

    single: Curve = FREE
    """In a step of one token."""
    few: Curve = FREE
    many: Curve = FREE
    others: float = 0.0
    """Seconds per token, layer and cell of another sequence: to see that it is none of ours."""
    fetched: int = 0
    """Tokens of the steps that `many` is of, where a GPU fetches the cache for each large step:
    that takes as long for more of them; 0: it stays where it is computed."""

    def at(self, tokens: int, depth: float, streams: int = 1) -> float:
        """Seconds per token and layer in a step of `tokens`, each behind `depth` of its own."""
        curve = self.single if tokens == 1 else self.few if tokens < TILE else self.many
        shared = self.fetched / tokens if self.fetched and tokens >= TILE else 1.0
        return shared * curve.at(depth) + self.others * depth * (streams - 1)


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """Of one device."""

    layer: Curve
    outside: Curve
    """All that is not in the layers, of a step that wants the logits of one token."""
    rows: float = 0.0
    """Seconds for each further token whose logits are wanted."""
    attention: Attention
    compute_bytes: int
    """Working memory of the largest step."""
    other_bytes: int = 0
    """What the device's driver and its libraries took besides."""


def cases(
    chunk: int,
    context: int = 0,
    *,
    deep: bool = True,
    straight: bool = False,
    beside_gpu: bool = False,
) -> tuple[Case, ...]:
    """The steps to be timed; one of two stand-ins needs none that are `deep`.

    `straight`: on a processor looking back costs the same for each token before, so that one depth
    tells more than two whose difference is small. `beside_gpu`: which computes its large steps.
    """
    flat = [Case(tokens) for tokens in STEPS if tokens <= chunk]
    if not deep:
        return tuple(flat)
    depths = [one for one in DEPTHS if not context or one + chunk <= context]
    most = min(chunk, PIECE if straight and not beside_gpu else LARGE)
    few = min(FEW, most)
    sizes = sorted({1, few, most})
    if straight and depths:
        deepest = min(max(DEPTHS), context - chunk) if context else max(DEPTHS)
        found = [*flat, *(Case(tokens, deepest) for tokens in sizes)]
    else:
        found = [*flat, *(Case(tokens, depth) for depth in depths for tokens in sizes)]
    if depths and most >= FEW:
        found += [Case(FEW, 0, FEW), Case(FEW, depths[0], FEW)]
    return tuple(found)


def of_cache(steps: tuple[Case, ...]) -> tuple[Case, ...]:
    """Of these, what tells one type of KV cache from another: deep steps, those that they are
    compared with, and the largest, which looks back within itself."""
    alone = [one.tokens for one in steps if not one.depth and one.streams == 1]
    sizes = {one.tokens for one in steps if one.depth} | {max(alone)}
    return tuple(one for one in steps if one.tokens in sizes)


def deep_one(layers: tuple[int, int], sizes: list[int]) -> int:
    """Which of two stand-ins shows what looking back costs: the quicker one, if it has enough
    layers, and such as no cache holds."""
    enough = layers[0] >= ENOUGH and sum(sizes[: layers[0]]) >= CACHE // 2
    return layers[0] if enough else layers[1]


def small(sizes: list[int]) -> bool:
    """Whether all layers together find room in a large cache: how quick they are depends on who
    else uses it at the moment, more than that of other models."""
    return sum(sizes) < CACHE


def cold_bytes(anatomy: ModelAnatomy, layers: int, cache: int) -> int:
    """What must be read elsewhere before a small step of a stand-in with so many layers, so that
    it finds no more of its weights in a cache of so many bytes than the whole model would.

    Of a mixture's layers a token needs a small part, and the next one needs some of it again.
    """
    whole_fits = anatomy.token_bytes < BEYOND * cache
    reaches = sum(anatomy.token_bytes_of(part) for part in anatomy.layers[:layers])
    return 0 if whole_fits or reaches >= BEYOND * cache else cache


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
    jump = OFFLOADED if _by_a_gpu(long) else 0
    less, more = _calm(flat(short), jump), _calm(flat(long), jump)
    steps = sorted(less)
    parts = _plausible(steps, [_parted(less[n], more[n], layers, n) for n in steps], jump)
    deep, count = (short, layers[0]) if _deep(short) else (long, layers[1])
    return Costs(
        layer=Curve(tuple(steps), tuple(layer for layer, _ in parts)),
        outside=Curve(tuple(steps), tuple(rest for _, rest in parts)),
        rows=_rows(deep),
        attention=_attention(deep, count, straight=device == "CPU"),
        compute_bytes=long.memory.get(f"compute/{device}", 0),
        other_bytes=_others(long, device),
    )


def with_cache(
    base: Costs, plain: TrialReport, other: TrialReport, layers: int, device: str
) -> Costs:
    """The same device with another type of KV cache: from trials of one stand-in with so many
    layers, of which `plain` has the cache that `base` was measured with.

    In small steps behind nothing the cache makes no difference that could be measured.
    """
    before, after = flat(plain), flat(other)
    steps = [n for n in sorted(after) if n >= TILE]
    more = Curve((0, FEW, *steps), (0.0, 0.0, *((after[n] - before[n]) / layers for n in steps)))
    layer = [max(seconds + more.at(n), 0.0)
             for n, seconds in zip(base.layer.tokens, base.layer.seconds, strict=True)]  # fmt: skip
    return msgspec.structs.replace(
        base,
        layer=Curve(base.layer.tokens, tuple(layer)),
        attention=_attention(other, layers, straight=device == "CPU"),
        compute_bytes=max(base.compute_bytes, other.memory.get(f"compute/{device}", 0)),
        other_bytes=max(base.other_bytes, _others(other, device)),
    )


def _parted(less: float, more: float, layers: tuple[int, int], tokens: int) -> tuple[float, float]:
    """Seconds of a layer and of the rest, from those of two stand-ins."""
    less = min(less, more)  # Others only ever make a step slower.
    layer = (more - less) / (layers[1] - layers[0])
    rest = less - layers[0] * layer
    whole = tokens == 1  # else the last layer leaves out what is at most all of it
    if rest < (0.0 if whole else -layer):
        # No model is like that. The longer one is nearer to it, and no cache holds it.
        layer = more / layers[1] if whole or layers[1] == 1 else more / (layers[1] - 1)
        rest = more - layers[1] * layer
    return layer, rest


def _calm(seconds: dict[int, float], jump: int) -> dict[int, float]:
    """Without steps that were disturbed: those that took much longer than a larger one, which the
    same device computed."""
    found: dict[int, float] = {}
    least = float("inf")
    for tokens in sorted(seconds, reverse=True):
        mine = seconds[tokens]
        found[tokens] = least if mine > MUCH * least else mine
        least = float("inf") if tokens == jump else min(least, mine)
    return found


def _plausible(
    steps: list[int], parts: list[tuple[float, float]], jump: int
) -> list[tuple[float, float]]:
    """Layers and the rest, by growing steps. More tokens make no layer cheaper, and not more than
    in proportion dearer. A layer that seems much cheaper than that was seen in a short stand-in
    that others held up: it costs what those beside it say. From steps of `jump` tokens on another
    device computes: those before say nothing of them."""
    found = list(parts)
    for place in reversed(range(len(steps) - 1)):
        if steps[place + 1] == jump:
            continue
        layer, rest = found[place + 1]
        layer *= steps[place] / steps[place + 1]
        if MUCH * found[place][0] < layer:
            found[place] = layer, rest
    for place in range(1, len(steps)):
        if steps[place] != jump and MUCH * found[place][0] < found[place - 1][0]:
            found[place] = found[place - 1]
    return found


def _rows(report: TrialReport) -> float:
    """What streams cost beside one sequence of as many tokens, behind none."""
    times, shallow = {one.case: one.seconds for one in report.times}, flat(report)
    found = next((case for case in times if case.streams > 1 and not case.depth), None)
    if found is None:
        return 0.0
    return max(times[found] - shallow[found.tokens], 0.0) / (found.streams - 1)


def _deep(report: TrialReport) -> bool:
    return any(one.case.depth for one in report.times)


def _attention(report: TrialReport, layers: int, *, straight: bool) -> Attention:
    """What steps behind some tokens cost more than the same steps behind none."""
    times, shallow = {one.case: one.seconds for one in report.times}, flat(report)

    def more(tokens: int) -> Curve:
        points = [(case.depth, (seconds - shallow[tokens]) / tokens / layers)
                  for case, seconds in times.items()
                  if case.tokens == tokens and case.depth and case.streams == 1]  # fmt: skip
        return _rising(sorted(points), straight=straight)

    sizes = {case.tokens for case in times if case.depth}
    found = Attention(
        single=more(1), few=more(FEW if FEW in sizes else 1), many=more(max(sizes, default=1))
    )
    if straight and _by_a_gpu(report):
        found = msgspec.structs.replace(found, fetched=max(sizes, default=0))
    crowd = next((case for case in times if case.streams > 1 and case.depth), None)
    if crowd is None:
        return found
    alone = shallow[crowd.tokens] + _rows(report) * (crowd.streams - 1)
    extra = (times[crowd] - alone) / crowd.tokens / layers
    foreign = crowd.depth * (crowd.streams - 1)
    others = max(extra - found.few.at(crowd.depth), 0.0) / foreign
    return msgspec.structs.replace(found, others=others)


def _by_a_gpu(report: TrialReport) -> bool:
    """Whether a GPU had working memory: large steps of a processor's layers are computed there."""
    return any(
        size and use.startswith("compute/") and use != "compute/CPU" and not use.endswith("_Host")
        for use, size in report.memory.items()
    )


def _rising(points: list[tuple[int, float]], *, straight: bool) -> Curve:
    """From nothing through the points, never falling; or a straight line as near as can be."""
    if not points:
        return FREE
    if straight:
        slope = sum(d * more for d, more in points) / sum(d * d for d, _ in points)
        return Curve((0, points[-1][0]), (0.0, max(slope, 0.0) * points[-1][0]))
    found = [(0, 0.0)]
    for depth, extra in points:
        found.append((depth, max(extra, found[-1][1])))
    return Curve(*zip(*found, strict=True))


def _others(report: TrialReport, device: str) -> int:
    named = sum(
        size for what, size in report.memory.items()
        if what.endswith(f"/{device}") and not what.startswith("taken/")
    )  # fmt: skip
    return max(report.memory.get(f"taken/{device}", 0) - named, 0)


def flat(report: TrialReport) -> dict[int, float]:
    """Seconds by tokens, of the steps with nothing before them."""
    return {
        one.case.tokens: one.seconds
        for one in report.times
        if not one.case.depth and one.case.streams == 1
    }
