"""What a move asks of this machine: the plan that is wanted, and whether there is room for it."""

from typing import Any

from ai_assistant.devices.child import ask_kernels
from ai_assistant.devices.facts import read_memory
from ai_assistant.devices.gpus import backends, read_gpus
from ai_assistant.devices.plan import memory_need
from ai_assistant.devices.replan import read_changes, replan, room_for_both
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.moves import Want
from ai_assistant.protocol.status import ModelInfo


def decide_move(model: ModelInfo, plan: EnginePlan, values: dict[str, Any]) -> Want:
    """Reads what is free; takes a second where there is a GPU. Raises `InvalidRequest`."""
    free = read_memory().available
    new = replan(plan, read_changes(values), model, free)
    gpus = read_gpus(ask_kernels) if new.gpu_layers and backends() else ()
    gpu_free = sum(gpu.free for gpu in gpus) if gpus else None
    return Want(
        plan=new, need=memory_need(model, new), room=room_for_both(model, new, free, gpu_free)
    )
