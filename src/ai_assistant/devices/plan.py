"""How a model is laid over this machine: a pure decision from facts."""

import msgspec

from ai_assistant.devices.layout.predict import Layout
from ai_assistant.devices.layout.room import Limits, of_kv_type
from ai_assistant.devices.layout.search import TURNS, Wanted
from ai_assistant.devices.settings import EngineSettings
from ai_assistant.protocol.engine_plan import EnginePlan, LoadMode
from ai_assistant.protocol.errors import ModelLoadFailed
from ai_assistant.protocol.layout import ModelAnatomy
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
SHORT = 2048
"""Tokens of KV cache below which a smaller type of it is taken, unless the owner says which."""
LEAST = 4096
"""The shortest context that is weighed against layers on a GPU, where the work needs no more."""
RESERVE = 0.9
"""Share of the free memory that a layout may take."""
CHUNKS = (512, 2048)
"""Tokens of a step, where layers in main memory are fetched for each: the more, the better."""


class Machine(msgspec.Struct, frozen=True):
    """The facts that a plan needs."""

    cores: int
    memory_available: int
    gpus: tuple[int, ...] = ()
    """Free bytes of each, in the kernels' order."""


def plan_engine(
    model: ModelInfo, machine: Machine, settings: EngineSettings, layout: Layout | None = None
) -> EnginePlan:
    """The layout of one model; the owner's settings win where they are set.

    `layout`: what was chosen for a machine with GPUs, of `choices`.
    """
    threads = settings.threads or machine.cores
    if model.embedding:
        return _plan_embedding(model, threads, settings)
    kv_type = layout.kv_type if layout else kv_type_of(model, machine, settings)
    context, pool = _tokens(model, machine, settings, kv_type)
    cells = layout.cells if layout else _round_up(max(pool, context))
    _refuse_what_does_not_fit(model, machine, cells, kv_type)
    plan = EnginePlan(
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
        kv_type=kv_type,
        share_weights=settings.share_weights,
        elastic_threads=not settings.threads,
        speculation=settings.speculation,
        batch_floor=settings.batch_floor,
        tpot_factor=settings.tpot_factor,
    )
    return placed(plan, layout) if layout else plan


def placed(plan: EnginePlan, layout: Layout) -> EnginePlan:
    """The plan with its weights where the layout says."""
    mode: LoadMode = "read" if layout.reads else "auto"
    return msgspec.structs.replace(
        plan,
        gpu_layers=layout.gpu_layers,
        feeds_on_cpu=layout.feeds_on_cpu,
        tensor_split=_shares(layout.on_gpus),
        host_buffers=layout.host_buffers,
        load_mode="auto" if plan.share_weights else mode,
        chunk=layout.chunk,
    )


def _shares(on_gpus: tuple[int, ...]) -> tuple[float, ...]:
    """As libllama counts: the output is one more layer of the last GPU that has any."""
    if len(on_gpus) < 2:
        return ()
    last = max((index for index, count in enumerate(on_gpus) if count), default=0)
    return tuple(float(count + (index == last)) for index, count in enumerate(on_gpus))


def choices(
    model: ModelInfo, anatomy: ModelAnatomy, machine: Machine, settings: EngineSettings
) -> Wanted:
    """What a layout may be chosen from, on a machine with GPUs: the owner's settings, or all."""
    kinds = ("f16", "q8_0") if settings.kv_type == "auto" else (settings.kv_type,)
    context, pool = _tokens(model, machine, settings, kinds[-1], roomy=True)
    most = _round_up(max(context, pool))
    fixed = bool(settings.context or settings.cells)
    turn = TURNS[settings.workload]
    least = min(max(LEAST, turn.streams * (turn.prompt + turn.answer)), most)
    halves = [most >> by for by in range(4) if most >> by > least]
    cells = [most] if fixed else [*halves, least]
    partial = settings.gpu_layers < 0 or settings.gpu_layers <= len(anatomy.layers)
    return Wanted(
        cells=tuple(map(_round_up, cells)),
        kv_types=kinds,
        chunks=(settings.chunk,) if settings.chunk else CHUNKS if partial else CHUNKS[:1],
        gpu_layers=settings.gpu_layers,
        threads=settings.threads,
    )


def limits(machine: Machine) -> Limits:
    """What a layout may take."""
    return Limits(ram=int(machine.memory_available * RESERVE), gpus=machine.gpus)


def kv_type_of(model: ModelInfo, machine: Machine, settings: EngineSettings) -> str:
    """The owner's; else 16 bits, which prompts are computed quickest with, as long as they fit."""
    if settings.kv_type != "auto":
        return settings.kv_type
    wanted = min(settings.context or model.context_train or SHORT, SHORT)
    return "f16" if _affordable_cells(model, machine, "f16") >= wanted else "q8_0"


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


def _tokens(
    model: ModelInfo,
    machine: Machine,
    settings: EngineSettings,
    kv_type: str,
    *,
    roomy: bool = False,
) -> tuple[int, int]:
    """Of one conversation, and in all; `roomy`: somebody else sees to it that they fit."""
    affordable = CONTEXT_CAP if roomy else _affordable_cells(model, machine, kv_type)
    context = settings.context or min(model.context_train or 4096, CONTEXT_CAP, affordable)
    return context, settings.cells or min(max(context, min(8 * context, POOL_CAP)), affordable)


def _affordable_cells(model: ModelInfo, machine: Machine, kv_type: str) -> int:
    per_token = of_kv_type(model.kv_bytes_per_token, kv_type)
    if per_token <= 0:
        return POOL_CAP
    free = max(machine.memory_available - model.size_bytes, machine.memory_available // 8)
    return max(CELL_STEP, int(free * KV_SHARE / per_token) // CELL_STEP * CELL_STEP)


def _refuse_what_does_not_fit(model: ModelInfo, machine: Machine, cells: int, kv_type: str) -> None:
    """The owner may ask for more than the machine has: better a word now than a dead machine."""
    per_token = of_kv_type(model.kv_bytes_per_token, kv_type)
    room = machine.memory_available + sum(machine.gpus)
    if cells * per_token <= room:
        return
    fits = int(room / per_token) // CELL_STEP * CELL_STEP
    raise ModelLoadFailed(
        f"A KV cache of {cells:,} tokens takes {cells * per_token / 1e9:,.1f} GB; "
        f"{room / 1e9:,.1f} GB are free. Ask for at most {fits:,} tokens "
        "with --context, or for a smaller kv_type such as q8_0."
    )


def memory_need(model: ModelInfo, plan: EnginePlan) -> int:
    """Bytes that the engine will take: weights, KV cache, working space."""
    cache = of_kv_type(model.kv_bytes_per_token * plan.cells, plan.kv_type)
    return model.size_bytes + int(cache) + (300 << 20)


def _round_up(cells: int) -> int:
    return -(-cells // CELL_STEP) * CELL_STEP
