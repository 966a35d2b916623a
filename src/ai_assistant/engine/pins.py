"""Prompts that are computed before the model says ready, and that no tier gives up."""

from array import array

from ai_assistant.engine.kernels import Batch, Context
from ai_assistant.engine.residence import Residence

PUBLIC = b""
"""Pins belong to the machine's owner: every tenant may use them."""


def compute(tokens: "array[int]", residence: Residence, context: Context) -> None:
    """Have the blocks of a prompt in the tiers, computing those that are in none."""
    slot = residence.open_pin(tokens, PUBLIC)
    batch: Batch = context.batch
    for start in range(residence.cache.length(slot), len(tokens), batch.capacity):
        part = tokens[start : start + batch.capacity]
        residence.cache.extend(slot, part)
        batch.clear()
        batch.add(slot, start, part, 0)
        context.decode(batch)
    residence.close_pin(slot)
