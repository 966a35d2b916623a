"""Builds the parts of an engine from its plan."""

from pathlib import Path

import msgspec

from ai_assistant.engine.admission import Limits
from ai_assistant.engine.batcher import Batcher
from ai_assistant.engine.drafts.drafting import Drafting
from ai_assistant.engine.drafts.loading import load_draft
from ai_assistant.engine.guesses import STEP_GUESSES, Guesses
from ai_assistant.engine.identity import fingerprint
from ai_assistant.engine.kernels import Context, Model
from ai_assistant.engine.residence import Residence
from ai_assistant.engine.tempo import Tempo
from ai_assistant.kvcache.cache import KvCache
from ai_assistant.kvcache.cold import ColdStore
from ai_assistant.kvcache.tiers import Tiers
from ai_assistant.kvcache.warm import WarmStore
from ai_assistant.protocol.engine_plan import EnginePlan

WORD = {"f32": 4, "f16": 2, "bf16": 2}
"""Bytes of one element of each KV type; the others are packed."""


class Parts(msgspec.Struct, frozen=True):
    """What an engine is made of."""

    context: Context
    cache: KvCache
    residence: Residence
    tempo: Tempo
    guesses: Guesses
    batcher: Batcher
    cold: ColdStore | None


def build(plan: EnginePlan, model: Model) -> Parts:
    """All parts, connected; raises `LoadError` where the kernels refuse."""
    context = make_context(plan, model)
    parts = connect(plan, model, context, WarmStore(plan.warm_bytes), open_cold(plan, model))
    if draft := load_draft(plan, model):
        parts.guesses.drafting = Drafting(draft)
    return parts


def connect(
    plan: EnginePlan,
    model: Model,
    context: Context,
    warm: WarmStore,
    cold: ColdStore | None,
    *,
    after: Parts | None = None,
) -> Parts:
    """The parts around a context, empty; `after` others, from which they learn step times."""
    shares = model.shares_prefixes
    cache = KvCache(cells=context.cells, sequences=context.sequences, shares_prefixes=shares)
    residence = Residence(
        cache,
        context,
        Tiers(warm, cold, shares_prefixes=shares),
        shares_prefixes=shares,
        park_bytes=plan.park_bytes,
    )
    return around(plan, model, context, residence, cold, after=after)


def around(
    plan: EnginePlan,
    model: Model,
    context: Context,
    residence: Residence,
    cold: ColdStore | None,
    *,
    after: Parts | None = None,
) -> Parts:
    """The parts that decide what a step holds, around those that hold cells."""
    tempo = Tempo(context, plan, after=after.tempo if after else None)
    guesses = Guesses(model, tempo.times, wanted=plan.speculation, threads=lambda: tempo.threads[0])
    slots = min(plan.slots, context.sequences)
    limits = Limits(
        slots=slots,
        retained=context.sequences - slots,
        chunk=plan.chunk,
        shares_prefixes=model.shares_prefixes,
        batch_floor=plan.batch_floor,
        tpot_factor=plan.tpot_factor,
    )
    batcher = Batcher(residence, tempo.times, limits, guesses.add)
    return Parts(context, residence.cache, residence, tempo, guesses, batcher, cold)


def make_context(plan: EnginePlan, model: Model) -> Context:
    """The KV cache and the kernels' buffers; raises `LoadError`."""
    # A recurrent model pays for each sequence id with a state of its own.
    ids = plan.slots + (min(plan.retained, 4) if model.has_state else plan.retained)
    return Context(
        model,
        cells=plan.cells,
        sequences=ids,
        chunk=plan.chunk,
        outputs=plan.slots + 1 + STEP_GUESSES,
        threads=plan.threads,
        threads_batch=plan.threads_batch,
        kv_type=plan.kv_type,
        kv_on_gpu=plan.kv_on_gpu,
        op_offload=plan.op_offload,
    )


def open_cold(plan: EnginePlan, model: Model) -> ColdStore | None:
    """The tier on disk, where the plan has one."""
    if plan.cold is None or plan.cold.bytes <= 0:
        return None
    return ColdStore(
        Path(plan.cold.folder),
        fingerprint(plan, model),
        budget=plan.cold.bytes,
        daily=plan.cold.daily_bytes,
        word=WORD.get(plan.kv_type, 1),
        about={
            "model": str(model.metadata.get("general.name", "")),
            "path": plan.model_path,
            "kv_type": plan.kv_type,
        },
    )
