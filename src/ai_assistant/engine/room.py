"""The cells of one context: who keeps some after its end, and who gives some up for others."""

from collections.abc import Sequence as Items

from ai_assistant.engine.kernels import Context
from ai_assistant.engine.saving import Saver
from ai_assistant.engine.sequence import Sequence
from ai_assistant.kvcache.cache import KvCache

MOVING_SECONDS = 0.1
"""How long all cells may take to be copied, where that only makes steps quicker."""
WORTH_MOVING = 2048
"""Cells between the last one in use and where it could be."""


class Room:
    """Retained sequences stay until something else runs. What leaves is saved where that pays."""

    def __init__(
        self, cache: KvCache, cells: Context, saver: Saver, *, shares_prefixes: bool
    ) -> None:
        self.cache = cache
        self.cells = cells
        self.saver = saver
        self.compactions = 0
        self._shares_prefixes = shares_prefixes

    def open(self, sequence: Sequence) -> int:
        """A place in the context, without cells yet. A sequence id is free: there are as many as
        slots and retained sequences together."""
        return self.cache.open(sequence.request.tenant.encode())

    # Ending.

    def retain(self, sequence: Sequence) -> None:
        """It has ended; its cells stay for a next turn until something else runs."""
        self.cache.retain(sequence.slot)
        self.saver.begin(sequence)

    def release(self, slot: int) -> None:
        """Its cells are free."""
        self.saver.forget(slot)
        self.cache.release(slot)
        self.cells.drop(slot)

    # Making room.

    def evict_step(self) -> None:
        """Let the retained sequences that are saved leave the context, and save a block of another:
        their cells slow every step by as much as a third."""
        for slot in self.cache.all_retained():
            if self.saver.save_block(slot):
                return
            self.release(slot)

    def evict(self) -> bool:
        """The same at once: its cells are needed. False when nothing is retained."""
        victim = self.cache.victim()
        if victim is None:
            return False
        while self.saver.save_block(victim):
            pass
        self.release(victim)
        return True

    def has_room(self, cells: int) -> bool:
        """Whether so many cells are free, after giving up retained sequences if need be."""
        while self.cache.free_cells < cells:
            if not self.evict():
                return False
        return True

    def compact(self, running: Items[Sequence]) -> None:
        """Move what runs to the context's beginning, where much before it is empty: each step
        passes over all cells up to the last one in use."""
        ledger = self.cache.ledger
        far = ledger.high_water - ledger.used >= max(WORTH_MOVING, 2 * ledger.used)
        # A copy of shared cells would be a second one.
        if not far or self.cache.retained or not self._shares_prefixes or ledger.any_shared:
            return
        if sum(map(self.copy_seconds, running)) > MOVING_SECONDS:
            return
        states = [self.cells.save(sequence.slot) for sequence in running]
        for sequence in running:
            self.cells.drop(sequence.slot)
        ledger.settled()
        self.compactions += 1
        for sequence, state in zip(running, states, strict=True):
            if sequence.computed and not self.cells.restore(sequence.slot, state):
                self.cells.drop(sequence.slot)
                self.cache.shrink(sequence.slot, 0)
                sequence.computed = 0

    def copy_seconds(self, sequence: Sequence) -> float:
        """What taking its cells out of the context will cost."""
        runs = self.cache.runs(sequence.slot, 0, sequence.computed)
        return self.saver.copying.seconds(runs, sequence.computed)
