"""A model that is larger than the free memory: how it would run from disk, and whether it should.

    kept     = free memory - KV cache - working space - what passes through
    a token  = max(bytes not kept / disk's bandwidth, all bytes / memory's bandwidth)

Of a mixture's experts a token needs a few; those in memory are as likely to be wanted as others.
"""

import msgspec
from msgspec import structs

from ai_assistant.devices.layout.room import of_kv_type
from ai_assistant.devices.plan import CELL_STEP
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.errors import ModelLoadFailed
from ai_assistant.protocol.status import ModelInfo

WORKING = 320 << 20
"""Bytes of the engine besides weights and KV cache."""
WARM = 64 << 20
"""Bytes for ended, and for parked, sequences where memory is short."""
CONTEXT = 4096
"""Tokens of a conversation, unless the owner asks for more: each of them is room for weights."""
SHARE = 0.95
"""Share of the free memory that is planned with."""
THROUGH = 0.08
"""Share of a model that passes through at once: two layers and a half of some thirty."""
EFFICIENCY = 0.8
"""Of a disk's bandwidth, what is left beside computing (measured: 0.8 to 1.0)."""
MEMORY_BANDWIDTH = 8e9
"""Bytes per second where it was not measured."""
UNKNOWN_DISK = 2e8
"""Bytes per second that are expected of a disk that could not be measured."""


class FromDisk(msgspec.Struct, frozen=True, kw_only=True):
    """A model on a machine that cannot hold it."""

    resident: int
    """Bytes of memory for its weights."""
    streamed: int
    """Bytes that come from disk for each token."""
    disk: float
    """Bytes per second, as measured."""
    tokens_per_second: float
    """Of one answer."""


class Experts(msgspec.Struct, frozen=True):
    """Of a mixture."""

    bytes: int = 0
    share: float = 0.0
    """Of them that a token needs."""


def fits(model: ModelInfo, plan: EnginePlan, free: int) -> bool:
    """Whether all weights can stay in memory."""
    return model.size_bytes + kv_bytes(model, plan) + WORKING <= free


def kv_bytes(model: ModelInfo, plan: EnginePlan) -> int:
    """Of the KV cache."""
    return int(of_kv_type(model.kv_bytes_per_token * plan.cells, plan.kv_type))


def frugal(plan: EnginePlan, context: int) -> EnginePlan:
    """The plan with a KV cache for one conversation; `context`: the owner's, 0 for none."""
    limit = context or min(plan.context_limit, CONTEXT)
    cells = min(plan.cells, -(-limit // CELL_STEP) * CELL_STEP)
    return structs.replace(plan, context_limit=min(limit, cells), cells=cells)


def predict(
    model: ModelInfo,
    plan: EnginePlan,
    free: int,
    disk: float | None,
    memory: float | None = None,
    experts: Experts | None = None,
) -> FromDisk:
    """How it would run; `disk` and `memory` in bytes per second as measured, None if they were
    not."""
    room = int(free * SHARE) - kv_bytes(model, plan) - WORKING
    experts = experts or Experts()
    dense = model.size_bytes - experts.bytes
    streamed = _streamed(dense, room)
    if experts.bytes:
        missing = 1 - max(room - dense, 0) / experts.bytes
        streamed += int(experts.bytes * experts.share * max(missing, 0.0))
    touched = dense + experts.bytes * experts.share
    rate = disk or UNKNOWN_DISK
    seconds = max(streamed / (rate * EFFICIENCY), touched / (memory or MEMORY_BANDWIDTH))
    return FromDisk(
        resident=max(room, 0), streamed=streamed, disk=rate, tokens_per_second=1 / seconds
    )


def _streamed(dense: int, room: int) -> int:
    """Of weights that every token needs: the same share of each layer stays, and of the rest as
    much as passes through at once has room too."""
    through = int(dense * THROUGH)
    kept = (room - through) / max(dense - through, 1)
    return int(dense * (1 - min(max(kept, 0.0), 1.0)))


def lay(
    model: ModelInfo, plan: EnginePlan, found: FromDisk, free: int, least: float
) -> tuple[EnginePlan, str]:
    """The plan with a part of the weights in memory, and what to say of it.

    Raises `ModelLoadFailed` where it would write fewer than `least` tokens a second, or where not
    even what passes through has room.
    """
    words = (
        f"{model.id} takes {model.size_bytes / 1e9:.1f} GB for its weights alone and "
        f"{free / 1e9:.1f} GB of memory are free"
    )
    if found.resident < model.size_bytes * THROUGH:
        raise ModelLoadFailed(
            f"{words}: not even the layers that are being computed have room beside its KV cache. "
            "Ask for a shorter --context, or take a smaller quantisation or a smaller model."
        )
    speed = (
        f"{found.streamed / 1e9:.1f} GB come from disk for each token, at {found.disk / 1e9:.1f} "
        f"GB/s that makes about {found.tokens_per_second:.2g} tokens per second"
    )
    if found.tokens_per_second < least:
        raise ModelLoadFailed(
            f"{words}. {speed}; below {least:g} no model is loaded. Take a smaller quantisation "
            "or a smaller model, free some memory, or accept it with "
            f"engine.least_tokens_per_second = {_below(found.tokens_per_second):g}."
        )
    # Weights that the kernels rearrange are copies: here every byte counts.
    plan = structs.replace(
        plan,
        resident_bytes=found.resident,
        share_weights=True,
        load_mode="mmap",
        gpu_layers=0,
        warm_bytes=min(plan.warm_bytes, WARM),
        park_bytes=min(plan.park_bytes, WARM),
    )
    return plan, f"{words}, so it runs from disk: {speed}."


def need(model: ModelInfo, plan: EnginePlan) -> int:
    """Bytes of memory that the engine will take."""
    return plan.resident_bytes + kv_bytes(model, plan) + WORKING


def _below(speed: float) -> float:
    """A round number a little lower."""
    return float(f"{speed * 0.8:.1g}")
