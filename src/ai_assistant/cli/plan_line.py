"""The plan that a loaded model runs by, in a few lines of `ps`."""

from ai_assistant.protocol.status import ModelStatus, PlanSource

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
    if plan.measuring is not None:
        lines.append(f"  Its layers are timed while nobody asks anything: {plan.measuring:.0%}.")
    return lines
