"""The first choice, by bytes: before anything was measured, and where nobody wants to measure.

On a GPU what fits is quicker than what does not; so as many layers as fit go there. Of a mixture
the attention goes first: every token needs it, and of the experts only a few.
"""

from collections.abc import Iterator
from itertools import product

import msgspec

from ai_assistant.devices.layout.predict import Layout
from ai_assistant.devices.layout.room import Limits, Needs, estimated, memory
from ai_assistant.devices.layout.search import Wanted, reading, spread
from ai_assistant.protocol.layout import ModelAnatomy

COMFORT = 8192
"""Tokens of KV cache that are worth more than layers on the GPU."""


def by_bytes(
    anatomy: ModelAnatomy, limits: Limits, wanted: Wanted, needs: Needs | None = None
) -> Layout | None:
    """The largest share of the model that the GPUs hold; None where not even memory holds it."""
    needs = needs or estimated(anatomy, max(wanted.chunks))
    rooms = tuple(max(room - needs.each_gpu, 0) for room in limits.gpus)
    for layout in _wishes(anatomy, wanted, gpus=bool(limits.gpus)):
        placed = spread(anatomy, layout, rooms)
        placed = reading(anatomy, placed) if limits.gpus else placed
        if limits.hold(memory(anatomy, placed, needs)):
            return placed
    return None


def _wishes(anatomy: ModelAnatomy, wanted: Wanted, *, gpus: bool) -> Iterator[Layout]:
    """All that may be wished for, the dearest first."""
    every = len(anatomy.layers) + 1 if wanted.gpu_layers < 0 else wanted.gpu_layers
    caches = list(product(wanted.cells, wanted.kv_types))
    short = [one for one in caches if one[0] <= COMFORT] or caches[-1:]
    chunk, threads = wanted.chunks[0], wanted.threads or 1

    def layout(cache: tuple[int, str], gpu_layers: int, apart: int = 0) -> Layout:
        return Layout(gpu_layers=gpu_layers, feeds_on_cpu=apart, threads=threads, chunk=chunk,
                      cells=cache[0], kv_type=cache[1])  # fmt: skip

    if gpus and every:
        least = min(COMFORT, max(cells for cells, _ in caches))
        yield from (layout(cache, every) for cache in caches if cache[0] >= least)
        if anatomy.experts:
            for apart in range(1, len(anatomy.layers) + 1):
                yield from (layout(cache, every, apart) for cache in short[:1])
        lowest = 1 if wanted.gpu_layers < 0 else every
        for gpu_layers in range(every, lowest - 1, -1):
            yield from (layout(cache, gpu_layers) for cache in short[:1])
    yield from (layout(cache, 0) for cache in caches)


def smaller(layout: Layout, anatomy: ModelAnatomy) -> Layout | None:
    """What to try where a layout found no room on the GPU after all; None: nothing is there."""
    total = len(anatomy.layers)
    less = max(total // 8, 1)
    if not layout.gpu_layers:
        return None
    if anatomy.experts and layout.gpu_layers > total and layout.feeds_on_cpu < total:
        apart = min(layout.feeds_on_cpu + less, total)
        return reading(anatomy, msgspec.structs.replace(layout, feeds_on_cpu=apart))
    left = max(min(layout.gpu_layers, total + 1) - less, 0)
    apart = layout.feeds_on_cpu if left else 0
    less_of_it = msgspec.structs.replace(layout, gpu_layers=left, on_gpus=(), feeds_on_cpu=apart)
    return reading(anatomy, less_of_it)
