"""How a model is laid over this machine: a pure decision from facts."""

import msgspec

from ai_assistant.devices.settings import EngineSettings
from ai_assistant.protocol.errors import ModelLoadFailed
from ai_assistant.protocol.frames import EnginePlan
from ai_assistant.protocol.status import ModelInfo

CELL_STEP = 256
"""libllama rounds the KV cache up to this many tokens."""
KV_SHARE = 0.25
"""Share of the free memory that the KV cache may take."""
WARM_SHARE = 0.1
WARM_CAP = 8 << 30
"""Share of the free memory, and bytes at most, for ended sequences."""
CONTEXT_CAP = 32_768
"""Tokens per conversation unless the owner asks for more: memory is taken at the start."""
POOL_CAP = 16_384
"""Tokens in all beyond one full conversation."""
KV_BYTES = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 1.0625, "q5_1": 0.75, "q5_0": 0.6875,
            "q4_1": 0.625, "q4_0": 0.5625}  # fmt: skip


class Machine(msgspec.Struct, frozen=True):
    """The facts that a plan needs."""

    cores: int
    memory_available: int


def plan_engine(model: ModelInfo, machine: Machine, settings: EngineSettings) -> EnginePlan:
    """The layout of one model; the owner's settings win where they are set."""
    threads = settings.threads or machine.cores
    if model.embedding:
        return _plan_embedding(model, threads, settings)
    affordable = _affordable_cells(model, machine, settings.kv_type)
    context = settings.context or min(model.context_train or 4096, CONTEXT_CAP, affordable)
    pool = settings.cells or min(max(context, min(8 * context, POOL_CAP)), affordable)
    cells = _round_up(max(pool, context))
    _refuse_what_does_not_fit(model, machine, cells, settings.kv_type)
    return EnginePlan(
        model_path=model.path,
        context_limit=min(context, cells),
        cells=cells,
        slots=settings.slots or 16,
        retained=8,
        warm_bytes=min(WARM_CAP, int(machine.memory_available * WARM_SHARE)),
        chunk=settings.chunk or 512,
        threads=threads,
        threads_batch=threads,
        gpu_layers=settings.gpu_layers,
        kv_type=settings.kv_type,
        share_weights=settings.share_weights,
        elastic_threads=not settings.threads,
        speculation=settings.speculation,
        batch_floor=settings.batch_floor,
        tpot_factor=settings.tpot_factor,
    )


def _plan_embedding(model: ModelInfo, threads: int, settings: EngineSettings) -> EnginePlan:
    """Each input is one batch, so the batch is as long as the longest input."""
    longest = min(settings.context or model.context_train or 512, 8192)
    return EnginePlan(
        model_path=model.path,
        embedding=True,
        context_limit=longest,
        cells=longest,
        slots=settings.slots or 32,
        retained=0,
        chunk=longest,
        threads=threads,
        threads_batch=threads,
        gpu_layers=settings.gpu_layers,
    )


def _affordable_cells(model: ModelInfo, machine: Machine, kv_type: str) -> int:
    per_token = model.kv_bytes_per_token / 2 * KV_BYTES[kv_type]
    if per_token <= 0:
        return POOL_CAP
    free = max(machine.memory_available - model.size_bytes, machine.memory_available // 8)
    return max(CELL_STEP, int(free * KV_SHARE / per_token) // CELL_STEP * CELL_STEP)


def _refuse_what_does_not_fit(model: ModelInfo, machine: Machine, cells: int, kv_type: str) -> None:
    """The owner may ask for more than the machine has: better a word now than a dead machine."""
    per_token = model.kv_bytes_per_token / 2 * KV_BYTES[kv_type]
    if cells * per_token <= machine.memory_available:
        return
    fits = int(machine.memory_available / per_token) // CELL_STEP * CELL_STEP
    raise ModelLoadFailed(
        f"A KV cache of {cells:,} tokens takes {cells * per_token / 1e9:,.1f} GB; "
        f"{machine.memory_available / 1e9:,.1f} GB are free. Ask for at most {fits:,} tokens "
        "with --context, or for a smaller kv_type such as q8_0."
    )


def memory_need(model: ModelInfo, plan: EnginePlan) -> int:
    """Bytes that the engine will take: weights, KV cache, working space."""
    per_token = model.kv_bytes_per_token / 2 * KV_BYTES[plan.kv_type]
    return model.size_bytes + int(plan.cells * per_token) + (300 << 20)


def _round_up(cells: int) -> int:
    return -(-cells // CELL_STEP) * CELL_STEP
