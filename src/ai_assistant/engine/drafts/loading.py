"""Loads the draft model that a plan names. One that cannot be had is a warning, never an error."""

import sys

from ai_assistant.engine.drafts.model import CHUNK, DraftModel
from ai_assistant.engine.drafts.slots import Slots
from ai_assistant.engine.kernels import Context, LoadError, Model
from ai_assistant.engine.pace import StepTimes
from ai_assistant.protocol.engine_plan import DraftPlan, EnginePlan

NEAR = 1024
"""Tokens by which the vocabularies of two models may differ: some are filled up at their end."""


def load_draft(plan: EnginePlan, target: Model) -> DraftModel | None:
    """The plan's draft model, its steps timed; None where there is none or it does not fit."""
    wanted = plan.draft
    if wanted is None or not plan.speculation:
        return None
    model: Model | None = None
    try:
        model = Model(
            wanted.model_path, gpu_layers=wanted.gpu_layers, share_weights=plan.share_weights
        )
        if problem := unfit(model, target):
            raise LoadError(problem)
        return _ready(model, wanted, plan, target)
    except (LoadError, OSError, MemoryError, RuntimeError, ValueError) as error:
        if model:
            model.close()
        warn(f"The draft model {wanted.model_path} is not used: {error}")
        return None


def _ready(model: Model, wanted: DraftPlan, plan: EnginePlan, target: Model) -> DraftModel:
    context = Context(
        model,
        cells=wanted.cells,
        sequences=wanted.slots,
        chunk=CHUNK,
        outputs=wanted.slots,
        threads=plan.threads,
        threads_batch=plan.threads,
        kv_type=wanted.kv_type,
    )
    try:
        slots = Slots(wanted.slots, context.cells)
        draft = DraftModel(model, context, StepTimes(), slots, target.vocabulary.size)
        draft.measure()
    except Exception:
        context.close()
        raise
    return draft


def unfit(model: Model, target: Model) -> str | None:
    """Why this model cannot draft for that one. Whether their tokens are the same was looked at
    when the plan was made, from the files."""
    if not model.generates:
        return "it does not write text from left to right"
    if not model.shares_prefixes:
        return "it cannot take tokens back"
    if not target.shares_prefixes:
        return "the model that it would help cannot take tokens back"
    if abs(model.vocabulary.size - target.vocabulary.size) > NEAR:
        return "its tokens are others"
    return None


def warn(text: str) -> None:
    """Into the engine's log."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
