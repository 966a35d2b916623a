"""Every layout that fits, by what a whole turn of the owner's work would take."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Literal

import msgspec

from ai_assistant.devices.layout.predict import (
    NEUTRAL,
    Bench,
    Factors,
    Layout,
    tpot,
    ttft,
)
from ai_assistant.devices.layout.room import Limits, Memory, Needs, kv_bytes, measured, memory
from ai_assistant.protocol.layout import ModelAnatomy

Workload = Literal["chat", "agent", "batch"]
CLOSE = 1.01
"""Turns that differ by less are the same."""
WORTH = 1.05
"""A longer context, or a cache that loses nothing, may cost so much of a turn."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What is typical of a kind of work."""

    prompt: int
    """Tokens."""
    known: int
    """Of these: cached from the turn before."""
    answer: int
    streams: int
    """Answers that are written at once."""


TURNS: dict[Workload, Turn] = {
    "chat": Turn(prompt=1500, known=1200, answer=250, streams=1),
    "agent": Turn(prompt=8000, known=6000, answer=300, streams=1),
    "batch": Turn(prompt=1000, known=0, answer=300, streams=16),
}


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """A layout and what it would do."""

    layout: Layout
    ttft: float
    """Seconds."""
    tpot: float
    """Seconds."""
    tokens_per_second: float
    """Of all streams together, while they write."""
    turn: float
    """Seconds of a whole turn; of a batch, per answer."""
    memory: Memory


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to choose from. The first of several is the one that is liked best."""

    cells: tuple[int, ...] = (4096,)
    """Tokens of KV cache, the most first."""
    kv_types: tuple[str, ...] = ("f16",)
    chunks: tuple[int, ...] = (512,)
    gpu_layers: int = -1
    """The owner's number; -1: whatever is best."""
    threads: int = 0
    """The same; 0: whatever was measured."""


def predict(
    anatomy: ModelAnatomy,
    bench: Bench,
    layout: Layout,
    turn: Turn,
    needs: Needs,
    factors: Factors = NEUTRAL,
) -> Prediction:
    """What a layout would do."""
    first = ttft(anatomy, bench, layout, turn.prompt, turn.known, factors=factors)
    depth = turn.prompt + turn.answer / 2
    each = tpot(anatomy, bench, layout, turn.streams, depth, factors=factors)
    return Prediction(
        layout=layout,
        ttft=first,
        tpot=each,
        tokens_per_second=turn.streams / each if each else 0.0,
        turn=first + turn.answer * each / turn.streams,
        memory=memory(anatomy, layout, needs),
    )


def layouts(
    anatomy: ModelAnatomy, benches: Mapping[str, Bench], wanted: Wanted, rooms: tuple[int, ...]
) -> Iterator[Layout]:
    """All that differ in speed; `rooms` are the bytes that each GPU has left for layers."""
    total = len(anatomy.layers)
    for kv_type, cells, chunk in product(wanted.kv_types, wanted.cells, wanted.chunks):
        bench = benches.get(kv_type)
        if bench is None or chunk > max(bench.processor(1).layer.tokens):
            continue
        counts = [wanted.threads] if wanted.threads else list(bench.cpu)
        for threads, places in product(counts, _places(total, bench, wanted.gpu_layers)):
            layout = Layout(
                gpu_layers=places[0],
                feeds_on_cpu=places[1],
                threads=threads,
                chunk=chunk,
                cells=cells,
                kv_type=kv_type,
            )
            placed = spread(anatomy, layout, rooms, bench)
            placed = reading(anatomy, placed) if bench.gpus else placed
            yield placed
            plain = places[0] <= total and not places[1]
            if plain and bench.rearranged and threads == max(bench.cpu):
                yield msgspec.structs.replace(placed, host_buffers=False)


def reading(anatomy: ModelAnatomy, layout: Layout) -> Layout:
    """Beside a GPU: read the file where weights stay in main memory, else map it."""
    partial = layout.gpu_layers <= len(anatomy.layers) or layout.feeds_on_cpu > 0
    return msgspec.structs.replace(layout, reads=partial)


def _places(total: int, bench: Bench, fixed: int) -> Iterator[tuple[int, int]]:
    """Layers on GPUs, and of these, such as leave their feed-forward part in main memory."""
    if not bench.gpus:
        yield 0, 0
        return
    for gpu_layers in range(total + 2):
        if fixed < 0 or gpu_layers == min(fixed, total + 1):
            yield gpu_layers, 0
            if bench.mixed:
                on_cpu = total - max(gpu_layers - 1, 0)
                wanted = range(1, total + 1) if gpu_layers == total + 1 else (total,)
                yield from ((gpu_layers, apart) for apart in wanted if apart > on_cpu)


def spread(
    anatomy: ModelAnatomy, layout: Layout, rooms: tuple[int, ...], bench: Bench | None = None
) -> Layout:
    """Share the layers out among several GPUs: the quickest is filled first."""
    if len(rooms) < 2 or not layout.gpu_layers:
        return layout
    total, kv = len(anatomy.layers), kv_bytes(anatomy, layout)
    left = min(max(layout.gpu_layers - 1, 0), total)
    size = max((layer.bytes for layer in anatomy.layers), default=0) + kv
    output = anatomy.output.bytes + (anatomy.embedding.bytes if anatomy.tied else 0)
    order = sorted(range(len(rooms)), key=lambda index: (_seconds(bench, index), -rooms[index]))
    counts = [0] * len(rooms)
    for index in order:
        # Whichever is the last one has the output too.
        counts[index] = min(left, max(rooms[index] - output, 0) // max(size, 1))
        left -= counts[index]
    counts[order[0]] += left
    return msgspec.structs.replace(layout, on_gpus=tuple(counts))


def _seconds(bench: Bench | None, index: int) -> float:
    """Of a layer and one token."""
    if bench is None or not bench.gpus:
        return 0.0
    return bench.gpus[min(index, len(bench.gpus) - 1)].layer.at(1)


def best(
    anatomy: ModelAnatomy,
    benches: Mapping[str, Bench],
    limits: Limits,
    workload: Workload | Turn,
    wanted: Wanted,
    factors: Factors = NEUTRAL,
) -> list[Prediction]:
    """All layouts that fit, the quickest for this work first; none where nothing fits.

    Of layouts that are as quick as each other within a per cent the one with fewer threads and
    less on the GPU goes first: what is not needed stays free for others. A shorter context and a
    smaller type of KV cache go first only where they win more than that is worth.
    """
    turn = workload if isinstance(workload, Turn) else TURNS[workload]
    chunk = max(max(one.processor(1).layer.tokens) for one in benches.values())
    needs = {kind: measured(one, anatomy, chunk) for kind, one in benches.items()}
    least = min((one.each_gpu for one in needs.values()), default=0)
    rooms = tuple(max(room - least, 0) for room in limits.gpus)
    found = [
        predict(anatomy, benches[one.kv_type], one, turn, needs[one.kv_type], factors)
        for one in layouts(anatomy, benches, wanted, rooms)
    ]
    return _ordered([one for one in found if limits.hold(one.memory)], wanted)


def _ordered(fitting: list[Prediction], wanted: Wanted) -> list[Prediction]:
    if not fitting:
        return []
    by_cache: dict[tuple[int, str], float] = {}
    for one in fitting:
        cache = (one.layout.cells, one.layout.kv_type)
        by_cache[cache] = min(one.turn, by_cache.get(cache, one.turn))
    good_enough = WORTH * min(by_cache.values())
    chosen = next(
        cache for cache in product(wanted.cells, wanted.kv_types)
        if by_cache.get(cache, good_enough + 1) <= good_enough
    )  # fmt: skip
    quickest = by_cache[chosen]

    def order(one: Prediction) -> tuple[bool, bool, float, int, int, int]:
        layout = one.layout
        other = (layout.cells, layout.kv_type) != chosen
        close = one.turn <= CLOSE * quickest
        about = 0.0 if close and not other else one.turn
        used = (layout.threads, layout.gpu_layers, -layout.feeds_on_cpu)
        return (other, not close, about, *used)

    return sorted(fitting, key=order)
