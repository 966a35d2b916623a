"""The plan that a loaded model runs by, in a few lines of `ps`."""

from ai_assistant.protocol.status import EngineStatus, ModelStatus, PlanSource

_SOURCES: dict[PlanSource, str] = {
    "settings": ", as the settings say",
    "processor": "",
    "bytes": ", by size",
    "measured": ", as measured",
    "fallback": ", after a load that found no room",
}


def plan_lines(one: ModelStatus) -> list[str]:
    """What runs, why, and what it should be able to do."""
    plan = one.plan
    if plan is None or one.state == "unloaded":
        return []
    lines = [f"Plan of {one.model.id}{_SOURCES[plan.source]}: {plan.summary}."]
    lines += [f"  {reason}" for reason in plan.reasons]
    if plan.ttft is not None and plan.tpot is not None:
        lines.append(
            f"  Predicted: first token after {plan.ttft:.2f} s, then one each "
            f"{plan.tpot * 1000:.1f} ms."
        )
    lines += _draft(plan.draft, one.engine)
    if plan.measuring is not None:
        lines.append(f"  Its layers are timed while nobody asks anything: {plan.measuring:.0%}.")
    return lines


def _draft(name: str, engine: EngineStatus | None) -> list[str]:
    """What a draft model did so far."""
    if engine is None or not (name or engine.draft_bytes):
        return []
    if not engine.draft_bytes:
        return [f"  The draft model {name} is not in use: it could not be loaded, or made room."]
    drafted, right = engine.drafted_from_model, engine.accepted_from_model
    if not drafted:
        return ["  The draft model has not drafted anything yet that was worth verifying."]
    return [
        f"  The draft model was right in {right:,} of {drafted:,} tokens ({right / drafted:.0%}); "
        f"it took {engine.draft_seconds:.1f} s."
    ]
