"""The speed and the memory of one layout, term by term.

    step(n, depth) = outside(n) + CPU layers x layer_cpu(n) + GPU layers x layer_gpu(n)
                     + depth x n x attention + crossing(n) where layers are on both
    TTFT           = the prompt's steps, one after the other, at growing depth
    TPOT           = step(streams, depth)
    memory         = weights + KV + the largest step's working memory, on each device

`layer`, `outside`, `attention` and `crossing` were measured on this machine (see `costs`).
"""

import msgspec

from ai_assistant.devices.layout.costs import Costs, Curve
from ai_assistant.protocol.layout import ModelAnatomy

NEVER = Curve((1,), (0.0,))
MARGIN = 256 << 20
"""Bytes of a GPU that stay free: drivers and other programs take some."""


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """One way to lay a model over a machine."""

    gpu_layers: int
    """As libllama counts: 0 none; 1 the output; n the output and the last n - 1 layers."""
    threads: int
    chunk: int = 512
    cells: int = 4096
    """Tokens of KV cache."""
    kv_scale: float = 1.0
    """Bytes of the KV cache against a 16-bit one."""


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of one model on one machine."""

    cpu: dict[int, Costs]
    """By threads."""
    gpu: Costs | None = None
    crossing: Curve = NEVER
    """What a step costs more when its layers are on both devices."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of one step, apart."""

    cpu_layers: float
    gpu_layers: float
    outside: float
    attention: float
    crossing: float

    @property
    def total(self) -> float:
        """Seconds."""
        return self.cpu_layers + self.gpu_layers + self.outside + self.attention + self.crossing


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes on each side."""

    ram: int
    gpu: int


def split(anatomy: ModelAnatomy, layout: Layout) -> tuple[int, int]:
    """Layers on the CPU and on the GPU."""
    total = len(anatomy.layers)
    gpu = min(max(layout.gpu_layers - 1, 0), total)
    return total - gpu, gpu


def step(anatomy: ModelAnatomy, bench: Bench, layout: Layout, tokens: int, depth: float) -> Terms:
    """Seconds of a step with `tokens` tokens that have `depth` tokens before them, each."""
    on_cpu, on_gpu = split(anatomy, layout)
    cpu = bench.cpu[layout.threads]
    gpu = bench.gpu if bench.gpu and layout.gpu_layers else cpu
    attention = (
        depth * tokens * (on_cpu * cpu.looking_back(tokens) + on_gpu * gpu.looking_back(tokens))
    )
    return Terms(
        cpu_layers=on_cpu * cpu.layer.at(tokens),
        gpu_layers=on_gpu * gpu.layer.at(tokens),
        outside=gpu.outside.at(tokens),
        attention=attention,
        crossing=bench.crossing.at(tokens) if layout.gpu_layers and on_cpu else 0.0,
    )


def ttft(anatomy: ModelAnatomy, bench: Bench, layout: Layout, prompt: int, known: int = 0) -> float:
    """Seconds to the first token of a prompt of which the first `known` tokens are cached."""
    seconds = 0.0
    for start in range(known, max(prompt, known + 1), layout.chunk):
        count = min(layout.chunk, max(prompt, known + 1) - start)
        seconds += step(anatomy, bench, layout, count, start + count / 2).total
    return seconds


def tpot(anatomy: ModelAnatomy, bench: Bench, layout: Layout, streams: int, depth: float) -> float:
    """Seconds between two tokens of each of so many streams."""
    return step(anatomy, bench, layout, streams, depth).total


def memory(anatomy: ModelAnatomy, bench: Bench, layout: Layout) -> Memory:
    """What the layout takes, on each side."""
    on_cpu, on_gpu = split(anatomy, layout)
    kv = int(anatomy.kv_bytes_per_token_layer * layout.kv_scale * layout.cells)
    sizes = [layer.bytes for layer in anatomy.layers]
    weights = sum(sizes[on_cpu:])
    ram = sum(sizes[:on_cpu]) + anatomy.embedding.bytes + on_cpu * kv
    if not layout.gpu_layers:
        ram += anatomy.output.bytes + bench.cpu[layout.threads].compute_bytes
        return Memory(ram=ram, gpu=0)
    weights += anatomy.output.bytes + (anatomy.embedding.bytes if anatomy.tied else 0)
    compute = bench.gpu.compute_bytes if bench.gpu else 0
    return Memory(ram=ram, gpu=weights + on_gpu * kv + compute + MARGIN)
