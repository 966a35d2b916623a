"""How much of a running engine a new plan touches: a pure decision that needs no kernels."""

from enum import IntEnum

from ai_assistant.protocol.engine_plan import EnginePlan

_SETTINGS = frozenset(
    ("context_limit", "threads", "threads_batch", "elastic_threads", "speculation", "draft",
     "batch_floor", "tpot_factor", "queue", "pins")
)  # fmt: skip
_CONTEXT = frozenset(
    ("cells", "slots", "retained", "chunk", "kv_type", "kv_on_gpu", "op_offload", "park_bytes",
     "warm_bytes", "cold")
)  # fmt: skip


class Depth(IntEnum):
    """What has to be made anew."""

    NOTHING = 0
    SETTINGS = 1
    """Threads, limits and the like: the KV cells stay where they are."""
    CONTEXT = 2
    """The KV cache; the weights stay."""
    WEIGHTS = 3
    """All: another process."""


def depth(old: EnginePlan, new: EnginePlan) -> Depth:
    """What lies between two plans. What nobody has sorted here concerns the weights."""
    names = EnginePlan.__struct_fields__
    changed = {name for name in names if getattr(old, name) != getattr(new, name)}
    if changed - _SETTINGS - _CONTEXT:
        return Depth.WEIGHTS
    if changed & _CONTEXT:
        return Depth.CONTEXT
    return Depth.SETTINGS if changed else Depth.NOTHING
