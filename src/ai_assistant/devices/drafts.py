"""Whether a draft model would pay: a pure prediction from what steps of both models take.

    tokens/s = (1 + a + a^2 + ... + a^k) / (step(1 + k) + k x draft step)

for the best k, against 1 / step(1); a is the share of drafted tokens that are right. Before they
are measured, seconds are in proportion to the bytes that a token needs.
"""

from collections.abc import Callable

import msgspec

from ai_assistant.devices.layout.room import KV_BYTES
from ai_assistant.protocol.engine_plan import DraftPlan, EnginePlan
from ai_assistant.protocol.status import ModelInfo

Seconds = Callable[[int], float]
"""Of a step of so many tokens."""

ACCEPTED_OF_KIN, ACCEPTED = 0.6, 0.4
"""Share of drafted tokens that is expected to be right: of a model of the same family (0.5 to 0.9
in the literature), of another one with the same tokens. Assumed; measured as soon as it runs."""
WORTH = 1.1
"""What it must gain to be loaded."""
ROUNDS = 16
TOKEN_ON_CPU, TOKEN_ON_GPU = 0.35, 0.02
"""What one more token costs a step, of a step of one token: measured on processors, and on a card
whose steps wait for memory."""
SLOTS = 4
CELLS = 16_384
"""Tokens of a draft model's KV cache at most."""
WORKING = 160 << 20
"""Bytes of a draft model beside weights and KV cache."""


class Payoff(msgspec.Struct, frozen=True):
    """What a draft model is expected to bring."""

    gain: float
    """Times as many tokens per second."""
    rounds: int
    """Tokens drafted for a step, where that is best."""
    accepted: float
    """The share of right ones that it was reckoned with."""
    draft_share: float
    """What a step of the draft model takes, of a step of the other one."""

    @property
    def pays(self) -> bool:
        """Whether it should be loaded."""
        return self.gain >= WORTH


def payoff(step: Seconds, draft_step: Seconds, accepted: float) -> Payoff:
    """The best length of a draft, and what it brings."""
    one, draft = step(1), draft_step(1)
    best = Payoff(1.0, 0, accepted, draft / one)
    tokens = chain = 1.0
    for rounds in range(1, ROUNDS + 1):
        chain *= accepted
        tokens += chain
        gain = tokens * one / (step(1 + rounds) + rounds * draft)
        if gain > best.gain:
            best = Payoff(gain, rounds, accepted, draft / one)
    return best


def by_bytes(token_bytes: int, *, on_gpu: bool) -> Seconds:
    """In no unit: for models that lie in the same memory."""
    more = TOKEN_ON_GPU if on_gpu else TOKEN_ON_CPU
    return lambda tokens: token_bytes * (1 + more * (tokens - 1))


def draft_plan(draft: ModelInfo, plan: EnginePlan, *, on_gpu: bool) -> DraftPlan:
    """How it is laid out beside the model that it drafts for."""
    return DraftPlan(
        model_path=draft.path,
        gpu_layers=-1 if on_gpu else 0,
        cells=min(plan.cells, CELLS),
        slots=min(SLOTS, plan.slots),
    )


def draft_need(draft: ModelInfo, plan: DraftPlan) -> int:
    """Bytes that it takes."""
    cells = int(draft.kv_bytes_per_token / 2 * KV_BYTES[plan.kv_type] * plan.cells)
    return draft.size_bytes + cells + WORKING


def told(draft: ModelInfo, found: Payoff) -> str:
    """The prediction in words."""
    if not found.rounds:
        return (
            f"no token ahead makes it quicker if {found.accepted:.0%} of them are right; a step "
            f"of {draft.id} takes {found.draft_share:.0%} of one without"
        )
    return (
        f"{found.rounds} ahead in each step make it {found.gain:.2f} times as quick if "
        f"{found.accepted:.0%} of them are right; a step of {draft.id} takes "
        f"{found.draft_share:.0%} of one without"
    )
