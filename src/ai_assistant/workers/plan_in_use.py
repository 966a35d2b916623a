"""The plan that a model runs by, and what is said of it."""

import re
from collections.abc import Callable

from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.status import PlanStatus

NO_ROOM = re.compile("memory|alloc|buffer", re.IGNORECASE)
"""What the kernels' reasons have in common where a device has no room."""
Smaller = Callable[[EnginePlan, str], tuple[EnginePlan, PlanStatus] | None]
"""(what found no room, the reason) → what to try next; None: nothing is left to try."""

_BY_HAND = "It was moved while it was in use; the next load plans anew."


class PlanInUse:
    """It changes where a load finds no room, and where a move ends."""

    def __init__(self, plan: EnginePlan, told: PlanStatus | None, smaller: Smaller | None) -> None:
        self.plan = plan
        self.told = told
        self._smaller = smaller

    @property
    def can_shrink(self) -> bool:
        """There may be a smaller one to try."""
        return self._smaller is not None

    def shrink(self, told: str, symptoms: str) -> bool:
        """Where `symptoms` speak of missing room: take a smaller one, and say so with the reason
        that was `told`. False: there is none."""
        found = None
        if self._smaller and NO_ROOM.search(symptoms):
            found = self._smaller(self.plan, told)
        if found:
            self.plan, self.told = found
        return found is not None

    def adopt(self, plan: EnginePlan) -> None:
        """The engine goes by this one from now on, also when it has to be started again."""
        if plan != self.plan:
            self.told = PlanStatus(summary=_summary(plan), source="settings", reasons=(_BY_HAND,))
        self.plan = plan


def _summary(plan: EnginePlan) -> str:
    layers = "all layers where a GPU is" if plan.gpu_layers < 0 else f"{plan.gpu_layers} GPU layers"
    return f"{layers}, {plan.threads} threads, context {plan.context_limit}, {plan.kv_type} cache"
