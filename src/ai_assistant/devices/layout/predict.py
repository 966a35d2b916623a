"""The speed of one layout, term by term.

    step(n, depth) = outside(n) + further rows of logits x row
                     + CPU layers x layer_cpu(n) + GPU layers x layer_gpu(n)
                     + layers whose feed-forward part stays in main memory x layer_mixed(n)
                     + n x layers x attention(n, depth) + crossing(n) where layers are on both
    TTFT           = the prompt's steps, one after the other, at growing depth
    TPOT           = step(streams, depth)

Every term was measured on this machine (see `costs`) and is multiplied by what later steps of the
real model taught (see `correct`).
"""

import msgspec

from ai_assistant.devices.layout.costs import FREE, Costs, Curve
from ai_assistant.protocol.layout import ModelAnatomy


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """One way to lay a model over a machine."""

    gpu_layers: int
    """As libllama counts: 0 none; 1 the output; n the output and the last n - 1 layers."""
    on_gpus: tuple[int, ...] = ()
    """Whole layers on each GPU, in the kernels' order; the output is where the last one is. Empty:
    all on the first."""
    feeds_on_cpu: int = 0
    """Layers, the first ones, whose feed-forward weights stay in main memory in any case."""
    threads: int
    chunk: int = 512
    """Tokens of a prompt computed in one piece: batch and micro-batch."""
    cells: int = 4096
    """Tokens of KV cache."""
    kv_type: str = "f16"
    host_buffers: bool = True
    """Beside a GPU: weights in main memory lie where it fetches them quickly; else as the
    processor likes them."""
    reads: bool = False
    """The file is read, not mapped: only so do those weights lie there."""


class Factors(msgspec.Struct, frozen=True, kw_only=True):
    """What each term is multiplied by: 1 until the real model's steps say otherwise."""

    cpu_layers: float = 1.0
    gpu_layers: float = 1.0
    mixed_layers: float = 1.0
    outside: float = 1.0
    attention: float = 1.0
    crossing: float = 1.0


NEUTRAL = Factors()


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of one model on one machine, with one type of KV cache."""

    cpu: dict[int, Costs]
    """By threads."""
    gpus: tuple[Costs, ...] = ()
    """In the kernels' order."""
    mixed: Costs | None = None
    """Layers on the first GPU whose feed-forward part is in main memory."""
    rearranged: Costs | None = None
    """Beside a GPU, with the most threads: weights in main memory as the processor likes them."""
    crossing: Curve = FREE
    """What a step costs more when its layers are on the processor and on a GPU."""
    between: Curve = FREE
    """The same between two GPUs."""
    disturbed: bool = False
    """Other programs computed while it was measured: it may be quicker."""

    def processor(self, threads: int, *, host_buffers: bool = True) -> Costs:
        """With so many threads, or the nearest number that was measured."""
        if not host_buffers and self.rearranged:
            return self.rearranged
        return self.cpu[min(self.cpu, key=lambda known: (abs(known - threads), known))]


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of one step, apart."""

    cpu_layers: float
    gpu_layers: float
    mixed_layers: float
    outside: float
    attention: float
    crossing: float

    @property
    def total(self) -> float:
        """Seconds."""
        return sum(getattr(self, name) for name in TERMS)


TERMS = Terms.__struct_fields__


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """Layers by where they are."""

    cpu: int
    mixed: int
    gpus: tuple[int, ...]
    """All of each GPU, the mixed ones included, which come first."""


def split(anatomy: ModelAnatomy, layout: Layout) -> Split:
    """Layers on the processor, of which first come; then those on GPUs."""
    total = len(anatomy.layers)
    on_gpu = min(max(layout.gpu_layers - 1, 0), total)
    left, counts = on_gpu, list[int]()
    for count in layout.on_gpus or (on_gpu,):
        counts.append(min(count, left))
        left -= counts[-1]
    counts[-1] += left
    mixed = min(max(min(layout.feeds_on_cpu, total) - (total - on_gpu), 0), on_gpu)
    return Split(cpu=total - on_gpu, mixed=mixed, gpus=tuple(counts))


def step(
    anatomy: ModelAnatomy,
    bench: Bench,
    layout: Layout,
    tokens: int,
    depth: float,
    *,
    streams: int = 1,
    factors: Factors = NEUTRAL,
) -> Terms:
    """Seconds of a step with `tokens` tokens that have `depth` tokens before them, each."""
    where = split(anatomy, layout)
    cpu = bench.processor(layout.threads, host_buffers=layout.host_buffers)
    gpus = bench.gpus if layout.gpu_layers else ()
    whole, looking, last = 0.0, where.cpu * cpu.attention.at(tokens, depth, streams), cpu
    mixed = where.mixed
    for index, count in enumerate(where.gpus if gpus else ()):
        gpu = gpus[min(index, len(gpus) - 1)]
        apart = min(mixed, count)
        mixed -= apart
        whole += (count - apart) * gpu.layer.at(tokens)
        looking += count * gpu.attention.at(tokens, depth, streams)
        last = gpu if count or not index else last
    parted = where.mixed * bench.mixed.layer.at(tokens) if bench.mixed and gpus else 0.0
    crossing = bench.crossing.at(tokens) if gpus and where.cpu else 0.0
    crossing += bench.between.at(tokens) * max(sum(map(bool, where.gpus)) - 1, 0)
    return Terms(
        cpu_layers=factors.cpu_layers * where.cpu * cpu.layer.at(tokens),
        gpu_layers=factors.gpu_layers * whole,
        mixed_layers=factors.mixed_layers * parted,
        outside=factors.outside * (last.outside.at(tokens) + last.rows * (streams - 1)),
        attention=factors.attention * tokens * looking,
        crossing=factors.crossing * crossing,
    )


def ttft(
    anatomy: ModelAnatomy,
    bench: Bench,
    layout: Layout,
    prompt: int,
    known: int = 0,
    *,
    factors: Factors = NEUTRAL,
) -> float:
    """Seconds to the first token of a prompt of which the first `known` tokens are cached."""
    seconds = 0.0
    for start in range(known, max(prompt, known + 1), layout.chunk):
        count = min(layout.chunk, max(prompt, known + 1) - start)
        # What a piece looks back at within itself is in the layer's own cost.
        seconds += step(anatomy, bench, layout, count, start, factors=factors).total
    return seconds


def tpot(
    anatomy: ModelAnatomy,
    bench: Bench,
    layout: Layout,
    streams: int,
    depth: float,
    *,
    factors: Factors = NEUTRAL,
) -> float:
    """Seconds between two tokens of each of so many streams."""
    found = step(anatomy, bench, layout, streams, depth, streams=streams, factors=factors)
    return found.total
