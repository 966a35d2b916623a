"""Copies of ended sequences' cells for the tiers, a block at a time, where copying pays."""

import time

from ai_assistant.engine.copying import Copying
from ai_assistant.engine.kernels import Context
from ai_assistant.engine.sequence import Sequence
from ai_assistant.kvcache.blocks import BLOCK, Block, BlockId, block_name
from ai_assistant.kvcache.cache import KvCache
from ai_assistant.kvcache.tiers import Speeds, Tiers
from ai_assistant.protocol.requests import Priority

WORTH_KEEPING = 16
"""Shorter tails are not saved when a sequence leaves the context."""
WORTH_DISK = BLOCK
"""Shorter sequences are not written to disk."""
IN_A_HURRY, AT_REST = 0.5, 2.0
"""A copy may take so much of the time that computing its tokens again would: while others wait for
it, and while nobody does."""


class Saver:
    """Knows how far each retained sequence is saved."""

    def __init__(
        self,
        cache: KvCache,
        cells: Context,
        tiers: Tiers,
        speeds: Speeds,
        *,
        shares_prefixes: bool,
    ) -> None:
        self.speeds = speeds
        self._cache = cache
        self._cells = cells
        self._tiers = tiers
        self._shares_prefixes = shares_prefixes
        self.copying = Copying(cells.layers)
        self._saved: dict[int, int] = {}
        """How many tokens of each retained sequence are in the tiers."""
        self._passing: set[int] = set()
        """Retained sequences that are not worth the disk."""

    def begin(self, sequence: Sequence) -> None:
        """A sequence has ended and is retained."""
        self._saved[sequence.slot] = 0
        if sequence.request.priority == Priority.BATCH or sequence.computed < WORTH_DISK:
            self._passing.add(sequence.slot)

    def pin(self, slot: int) -> None:
        """Save all of a sequence, for ever."""
        self._saved[slot] = 0
        while self.save_block(slot, pinned=True):
            pass

    def forget(self, slot: int) -> None:
        """The slot is somebody else's or runs again."""
        self._saved.pop(slot, None)
        self._passing.discard(slot)

    def save_step(self) -> bool:
        """Copy one block of a retained sequence to the tiers; False when all that is worth it is
        there."""
        return any(self.save_block(slot, hurry=False) for slot in self._cache.all_retained())

    def checkpoint(self, sequence: Sequence) -> None:
        """Keep the state of a running sequence whose state cannot be cut later."""
        if not self._shares_prefixes and sequence.computed >= BLOCK:
            durable = sequence.request.priority < Priority.BATCH
            self._save_whole(sequence.slot, durable=durable)

    def save_block(self, slot: int, *, pinned: bool = False, hurry: bool = True) -> bool:
        """Save the first block that the tiers lack; False when they lack none that is worth it."""
        length = self._cache.length(slot)
        saved = self._saved.get(slot, length)
        if saved >= length:
            return False
        durable = slot not in self._passing
        if not self._shares_prefixes:
            self._saved[slot] = length
            return self._save_whole(slot, durable=durable, pinned=pinned)
        names = self._cache.names(slot)
        for index in range(saved // BLOCK, len(names)):
            parent = names[index - 1] if index else self._cache.root(slot)
            start, end = index * BLOCK, (index + 1) * BLOCK
            wanted = pinned or not self._tiers.has(names[index])
            if wanted and not (pinned or self._pays(slot, start, end, hurry=hurry)):
                return False  # in a pause it may pay
            self._saved[slot] = end
            if durable and not self._tiers.write(names[index]):
                self._passing.add(slot)  # what follows could not be found behind the gap
                durable = False
            if wanted:
                block = BlockId(parent, names[index], BLOCK)
                self._keep(slot, block, start, durable=durable, pinned=pinned)
                return True
        tail = length // BLOCK * BLOCK
        long = length - tail >= WORTH_KEEPING
        if long and not (pinned or self._pays(slot, tail, length, hurry=hurry)):
            return False
        self._saved[slot] = length
        return self._save_tail(slot, durable=durable, pinned=pinned)

    def _pays(self, slot: int, start: int, end: int, *, hurry: bool) -> bool:
        """Whether copying these tokens' cells is worth its time."""
        if not self.speeds.prefill:
            return True
        again = (end - start) / self.speeds.prefill
        copy = self.copying.seconds(self._cache.runs(slot, start, end), end - start)
        if copy <= again * (IN_A_HURRY if hurry else AT_REST):
            return True
        self.copying.doubt()
        return False

    def _save_tail(self, slot: int, *, durable: bool, pinned: bool) -> bool:
        end = self._cache.length(slot)
        start = end // BLOCK * BLOCK
        if end - start < WORTH_KEEPING:
            return False
        names = self._cache.names(slot)
        parent = names[-1] if names else self._cache.root(slot)
        tail = self._cache.tokens(slot, start)
        block = BlockId(parent, block_name(parent, tail), end - start)
        if self._tiers.has(block.name) and not pinned:
            return False
        self._keep(slot, block, start, durable=durable, pinned=pinned)
        return True

    def _keep(self, slot: int, block: BlockId, start: int, *, durable: bool, pinned: bool) -> None:
        end = start + block.count
        begun = time.perf_counter()
        state = self._cells.save_range(slot, start, end)
        runs = self._cache.runs(slot, start, end)
        self.copying.learn(runs, block.count, time.perf_counter() - begun)
        tokens = self._cache.tokens(slot, start, end)
        if not self._tiers.put(Block(block, tokens, state), durable=durable, pinned=pinned):
            self._passing.add(slot)

    def _save_whole(self, slot: int, *, durable: bool, pinned: bool = False) -> bool:
        tokens = self._cache.tokens(slot)
        root = self._cache.root(slot)
        block = BlockId(root, block_name(root, tokens), len(tokens))
        if len(tokens) < WORTH_KEEPING or (self._tiers.has(block.name) and not pinned):
            return False
        state = self._cells.save(slot)
        self._tiers.put(Block(block, tokens, state), durable=durable, pinned=pinned)
        return True
