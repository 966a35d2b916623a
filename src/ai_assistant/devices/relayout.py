"""A better plan for a model that runs on the processor: a pure decision from what was measured.

    a turn = prompt tokens that are not cached / prefill rate + answer tokens x time of a step

More cores compute prompts as many times quicker, and so they do the tokens of several streams at
once; one stream's tokens wait for memory, and gain as far as that lets them.
"""

from collections.abc import Sequence

import msgspec
from msgspec import structs

from ai_assistant.devices.plan import Machine, memory_need, plan_engine
from ai_assistant.devices.profile import ThreadRate
from ai_assistant.devices.settings import EngineSettings
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.errors import ModelLoadFailed
from ai_assistant.protocol.relayout import Usage
from ai_assistant.protocol.status import EngineStatus, ModelInfo

ERROR = 0.25
"""By which speeds that were never measured may be wrong."""
FEW = 2
"""Streams at once whose steps wait for memory; more of them compute."""
GROWTH = 1.5
"""Times the present KV cache from which another one is worth the trouble."""
SPARE = 0.125
"""Share of the memory that stays free for others."""


class Better(msgspec.Struct, frozen=True, kw_only=True):
    """Another plan, and seconds of a turn by the present one and by it."""

    plan: EnginePlan
    now: float
    then: float
    why: str
    roomier: bool
    """It holds more tokens, which is worth something whatever the speed."""


class Here(msgspec.Struct, frozen=True, kw_only=True):
    """The machine as it is now."""

    cores: int
    """That are granted."""
    memory_total: int
    memory_available: int
    """Beside what the model takes."""
    reads: Sequence[ThreadRate] = ()
    """How quickly so many threads read memory, where that was measured."""


def better_on_processor(
    model: ModelInfo,
    plan: EnginePlan,
    engine: EngineStatus,
    usage: Usage,
    here: Here,
    settings: EngineSettings,
) -> Better | None:
    """None: nothing that has changed makes another plan better. What the owner set stays."""
    wider, now, then = _with_cores(plan, engine, usage, here)
    roomier = _with_memory(model, wider, here, settings)
    reasons: list[str] = []
    if wider != plan:
        reasons.append(f"{here.cores} cores are granted, the plan had {plan.threads}")
    if roomier != wider:
        reasons.append(
            f"memory is free for {roomier.cells:,} tokens of KV cache, the plan had {plan.cells:,}"
        )
    if not reasons:
        return None
    return Better(
        plan=roomier, now=now, then=then, why="; ".join(reasons), roomier=roomier != wider
    )


def _with_cores(
    plan: EnginePlan, engine: EngineStatus, usage: Usage, here: Here
) -> tuple[EnginePlan, float, float]:
    """More threads where more cores are granted and others leave them free. Fewer cores need no
    plan: the engine takes fewer by itself."""
    step = (engine.decode_ms_mean + engine.python_ms_mean) / 1000
    rate = engine.prefill_tokens_per_second
    reading = (usage.prompt - usage.known) / rate if rate > 0 else 0.0
    now = reading + usage.answer * step
    left = here.cores - round(engine.cores_busy)
    if not plan.elastic_threads or left <= plan.threads or now <= 0:
        return plan, now, now
    wider = structs.replace(plan, threads=here.cores, threads_batch=here.cores)
    reading *= min(max(engine.threads_batch or engine.threads, 1) / left, 1.0)
    before = max(engine.threads, 1)
    alone = _share_alone(before, left, here.reads)
    share = alone if usage.streams <= FEW else min(before / left, 1.0)
    kernels = engine.decode_ms_mean / 1000 * share
    return wider, now, reading + usage.answer * (kernels + engine.python_ms_mean / 1000)


def _share_alone(before: int, after: int, reads: Sequence[ThreadRate]) -> float:
    """Time of a single token with so many threads after, as a share of that before."""
    known = {one.threads: one.bytes_per_second for one in reads}
    if not known:
        return min(before / after, 1.0) ** 0.5

    def rate(threads: int) -> float:
        return known[min(known, key=lambda count: abs(count - threads))]

    return min(max(rate(before) / rate(after), before / after), 1.0)


def _with_memory(
    model: ModelInfo, plan: EnginePlan, here: Here, settings: EngineSettings
) -> EnginePlan:
    """A KV cache as large as it would be if the model was loaded now."""
    taken = memory_need(model, plan)
    machine = Machine(here.cores, here.memory_available + taken)
    try:
        fresh = plan_engine(model, machine, settings)
    except ModelLoadFailed:
        return plan
    if fresh.kv_type != plan.kv_type or fresh.cells < GROWTH * plan.cells:
        return plan
    more = structs.replace(
        plan, cells=fresh.cells, context_limit=max(fresh.context_limit, plan.context_limit)
    )
    left = here.memory_available - (memory_need(model, more) - taken)
    return more if left >= SPARE * here.memory_total else plan
