"""The memory that a layout takes on each device: weights, KV cache, the largest step's needs."""

import msgspec

from ai_assistant.devices.layout.predict import Bench, Layout, split
from ai_assistant.protocol.layout import ModelAnatomy

KV_BYTES = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 1.0625, "q5_1": 0.75, "q5_0": 0.6875,
            "q4_1": 0.625, "q4_0": 0.5625}  # fmt: skip
MARGIN = 256 << 20
"""Bytes of a GPU that stay free where its needs were measured: other programs take some."""
UNMEASURED = 512 << 20
"""The same where they were not: for libraries and pools that no log names."""
ROWS = 85
"""Rows of logits of the largest step: 16 slots, and guesses."""
MASK = 6
"""Bytes for each token of a step and cell of the cache, while it is computed."""


def of_kv_type(f16_bytes: float, kv_type: str) -> float:
    """As many bytes of the KV cache in that type; models tell theirs in f16."""
    return f16_bytes / KV_BYTES["f16"] * KV_BYTES[kv_type]


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes beside weights and KV cache."""

    ram: int
    gpu: int
    """Of a step, on each GPU that is used."""
    fixed: int = 0
    """On each of them whatever the step: what drivers and pools take, logits, what stays free."""
    chunk: int = 512
    """Tokens of the step that these are of."""

    @property
    def each_gpu(self) -> int:
        """All of it, on each GPU that is used."""
        return self.gpu + self.fixed


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes on each side."""

    ram: int
    gpus: tuple[int, ...] = ()
    """In the kernels' order."""

    @property
    def gpu(self) -> int:
        """On all GPUs."""
        return sum(self.gpus)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that may be taken."""

    ram: int
    gpus: tuple[int, ...] = ()
    """In the kernels' order."""

    def hold(self, memory: Memory) -> bool:
        """Whether so much is there."""
        if memory.ram > self.ram or (len(memory.gpus) > len(self.gpus) and any(memory.gpus)):
            return False
        return all(need <= room for need, room in zip(memory.gpus, self.gpus, strict=False))


def measured(bench: Bench, anatomy: ModelAnatomy, chunk: int) -> Needs:
    """From trials with steps of `chunk` tokens."""
    ram = max(one.compute_bytes for one in bench.cpu.values())
    ways = (*bench.gpus, bench.mixed) if bench.mixed else bench.gpus
    gpu = max((one.compute_bytes for one in ways), default=0)
    others = max((one.other_bytes for one in ways), default=0)
    fixed = others + ROWS * 4 * anatomy.vocabulary + MARGIN
    return Needs(ram=ram, gpu=gpu, fixed=fixed, chunk=chunk)


def estimated(anatomy: ModelAnatomy, chunk: int = 512) -> Needs:
    """Before anything was measured: rather too much than too little."""
    step = chunk * 4 * (3 * anatomy.feed + 6 * anatomy.width)
    logits = ROWS * 4 * anatomy.vocabulary
    # A large step fetches the weights that stay in main memory, a tensor after the other.
    fetched = max((layer.bytes for layer in anatomy.layers), default=0)
    fixed = logits + fetched + UNMEASURED
    return Needs(ram=step + logits, gpu=step, fixed=fixed, chunk=chunk)


def kv_bytes(anatomy: ModelAnatomy, layout: Layout) -> int:
    """Of one layer."""
    return int(of_kv_type(anatomy.kv_bytes_per_token_layer * layout.cells, layout.kv_type))


def memory(anatomy: ModelAnatomy, layout: Layout, needs: Needs) -> Memory:
    """What the layout takes, on each side."""
    where, kv = split(anatomy, layout), kv_bytes(anatomy, layout)
    step = max(layout.chunk / needs.chunk, 0.25)
    mask = layout.chunk * layout.cells * MASK
    sizes = [layer.bytes for layer in anatomy.layers]
    feeds = [layer.feeds for layer in anatomy.layers]
    apart = sum(feeds[where.cpu : where.cpu + where.mixed])
    ram = sum(sizes[: where.cpu]) + anatomy.embedding.bytes + where.cpu * kv + apart
    if not layout.gpu_layers:
        ram += anatomy.output.bytes + int(needs.ram * step) + mask
        return Memory(ram=ram, gpus=tuple(0 for _ in layout.on_gpus))
    gpus, start, mixed = list[int](), where.cpu, where.mixed
    for count in where.gpus:
        left = min(mixed, count)
        taken = sum(sizes[start : start + count]) - sum(feeds[start : start + left])
        gpus.append(taken + count * kv)
        start, mixed = start + count, mixed - left
    last = max((index for index, count in enumerate(where.gpus) if count), default=0)
    gpus[last] += anatomy.output.bytes + (anatomy.embedding.bytes if anatomy.tied else 0)
    own = int(needs.gpu * step) + needs.fixed + mask
    return Memory(ram=ram, gpus=tuple(size + own if size else 0 for size in gpus))
