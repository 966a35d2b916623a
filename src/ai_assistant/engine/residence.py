"""Where a sequence's KV cells are: in the context, in RAM or on disk; and moving them.

Decisions about blocks are the cache's, the bytes are the kernels'; what moves when is decided here,
so that no step waits for more than one block.
"""

import time
from array import array
from typing import Protocol

import msgspec

from ai_assistant.engine.sequence import Sequence
from ai_assistant.kvcache.blocks import (
    BLOCK,
    Block,
    BlockId,
    State,
    block_name,
    common_prefix,
)
from ai_assistant.kvcache.cache import KvCache
from ai_assistant.kvcache.tiers import (
    WORTH_SHARING,
    Piece,
    Restoring,
    Speeds,
    Tiers,
    worth_fetching,
)
from ai_assistant.protocol.requests import Priority

WORTH_KEEPING = 16
"""Shorter tails are not saved when a sequence leaves the context."""
WORTH_DISK = BLOCK
"""Shorter sequences are not written to disk."""
PATIENT_SECONDS = 0.005
"""How long an engine that has nothing else to do waits for a block before it looks around."""
ALONE_SECONDS = 0.05
"""How long blocks may come back before new orders are looked at, if nobody else has work."""
SMOOTH = 0.2
"""Weight of the newest measurement."""


class Cells(Protocol):
    """What is asked of the kernels."""

    def share(self, source: int, target: int, length: int) -> None: ...
    def share_all(self, source: int, target: int) -> None: ...
    def drop(self, sequence: int) -> None: ...
    def trim(self, sequence: int, length: int) -> bool: ...
    def state_bytes(self, sequence: int) -> int: ...
    def save(self, sequence: int) -> State: ...
    def restore(self, sequence: int, state: State) -> bool: ...
    def save_range(self, sequence: int, start: int, end: int) -> State: ...
    def restore_range(self, sequence: int, state: State) -> bool: ...


class Known(msgspec.Struct, frozen=True):
    """The longest known beginning of a sequence: `hot` tokens of `holder` in the context, and the
    pieces that follow them."""

    hot: int = 0
    holder: int = -1
    pieces: tuple[Piece, ...] = ()

    @property
    def length(self) -> int:
        """Tokens in all."""
        return self.hot + sum(piece.used for piece in self.pieces)


class Hits(msgspec.Struct):
    """Prompt tokens that came from outside the context."""

    warm: int = 0
    cold: int = 0


class Residence:
    """The cells of one context's sequences."""

    def __init__(
        self,
        cache: KvCache,
        cells: Cells,
        tiers: Tiers,
        *,
        shares_prefixes: bool,
        park_bytes: int,
    ) -> None:
        self.cache = cache
        self.tiers = tiers
        self.speeds = Speeds()
        self.hits = Hits()
        self._cells = cells
        self._shares_prefixes = shares_prefixes
        self._park_bytes = park_bytes
        self._parked_bytes = 0
        self._saved: dict[int, int] = {}
        """How many tokens of each retained sequence are in the tiers."""
        self._passing: set[int] = set()
        """Retained sequences that are not worth the disk."""
        self._pinned: list[array[int]] = []

    # Finding and beginning.

    def find(self, sequence: Sequence) -> Known:
        """What is known of a sequence that waits, as far as using it pays."""
        if sequence.state is not None:
            return Known()
        tokens, salt = sequence.tokens, sequence.request.tenant.encode()
        hot = self.cache.match(tokens, salt)
        pieces = self._pieces(tokens, salt)
        begin = hot.length // BLOCK if self._shares_prefixes else 0
        start = begin * BLOCK
        pieces = pieces[begin:]
        worth = worth_fetching(pieces, hot.length, start, self.speeds)
        chosen = tuple(pieces[:worth])
        reach = start + sum(piece.used for piece in chosen)
        room = sum(piece.id.count for piece in chosen)
        if reach >= hot.length + WORTH_SHARING and self.fits_free(room):
            return Known(start, hot.holder, chosen)
        return Known(hot.length, hot.holder) if hot.length >= WORTH_SHARING else Known()

    def _pieces(self, tokens: "array[int]", salt: bytes) -> list[Piece]:
        """A tenant's own blocks, or those of a pinned prompt where they reach further."""
        own = self.tiers.find(tokens, self.cache.root_of(salt))
        if not salt or not self._pinned:
            return own
        shared = max(common_prefix(pin, tokens, 0) for pin in self._pinned)
        # A whole state is found from one token further on.
        reach = shared + (not self._shares_prefixes)
        public = self.tiers.find(tokens[:reach], self.cache.root_of(b""))
        return max(own, public, key=_reach)

    def fits_free(self, cells: int) -> bool:
        """Whether so many cells are free, or would be without the retained sequences."""
        return self.cache.free_cells + self.cache.retained_cells() >= cells

    def begin(self, sequence: Sequence, known: Known) -> None:
        """Give it a place in the context and all that is known of it."""
        if sequence.state is not None:
            self._resume(sequence)
            return
        if known.hot:
            self._continue(sequence, known)
        else:
            sequence.slot = self._open(sequence)
        if known.pieces:
            sequence.restoring = Restoring(known.pieces, self.tiers.cold)
            self.tiers.used(piece.id.name for piece in known.pieces)

    def _open(self, sequence: Sequence) -> int:
        return self.cache.open(sequence.request.tenant.encode())

    def _continue(self, sequence: Sequence, known: Known) -> None:
        """Begin with the cells of a sequence in the context. A sequence id is free: there are as
        many as slots and retained sequences together."""
        holder, length = known.holder, known.hot
        sequence.computed = length
        if self.cache.is_retained(holder) and length == self.cache.length(holder):
            sequence.slot = holder
            self._forget_progress(holder)
            self.cache.adopt(holder)
            return
        sequence.slot = self._open(sequence)
        self.cache.share(holder, sequence.slot, length)
        if self._shares_prefixes:
            self._cells.share(holder, sequence.slot, length)
        else:
            self._cells.share_all(holder, sequence.slot)

    # Pinning.

    def open_pin(self, tokens: "array[int]", salt: bytes) -> int:
        """A sequence for a prompt that is to be pinned, with what the tiers have of it."""
        self._pinned.append(tokens)
        slot = self.cache.open(salt)
        if not self._shares_prefixes:
            return slot
        restoring = Restoring(self.tiers.find(tokens, self.cache.root_of(salt)), self.tiers.cold)
        while not restoring.done:
            found = restoring.next(1.0)
            if not found or found[0].used < found[0].id.count:
                break
            piece, state = found
            if not self._cells.restore_range(slot, state):
                break
            start = self.cache.length(slot)
            self.cache.extend(slot, tokens[start : start + piece.used])
        restoring.cancel()
        return slot

    def close_pin(self, slot: int) -> None:
        """All is computed: keep it in the tiers and leave the context."""
        self._saved[slot] = 0
        while self._save_block(slot, pinned=True):
            pass
        self.release(slot)

    # Fetching.

    def fetch(self, running: list[Sequence], seconds: float) -> None:
        """Put what has come of the blocks that sequences wait for into the context: at least one
        block, and for at most so many seconds if others have work."""
        restoring = [sequence for sequence in running if sequence.restoring is not None]
        alone = len(restoring) == len(running)
        end = time.perf_counter() + (ALONE_SECONDS if alone else seconds)
        for sequence in restoring:
            while self._fetch_one(sequence, PATIENT_SECONDS if alone else 0.0):
                if time.perf_counter() > end:
                    return

    def _fetch_one(self, sequence: Sequence, seconds: float) -> bool:
        """Whether a block came."""
        restoring = sequence.restoring
        if restoring is None:
            return False
        found = restoring.next(seconds)
        if found and not self._append(sequence, *found):
            restoring.cancel()
        if restoring.done:
            self._all_fetched(sequence)
        return found is not None

    def _append(self, sequence: Sequence, piece: Piece, state: State) -> bool:
        """Put one block behind the cells that a sequence has."""
        start, slot = sequence.computed, sequence.slot
        if not self.has_room(piece.id.count):
            return False
        begun = time.perf_counter()
        if self._shares_prefixes:
            done = self._cells.restore_range(slot, state)
            if done and piece.used < piece.id.count:
                self._cells.trim(slot, start + piece.used)
        else:
            done = self._cells.restore(slot, state)
        if not done:
            return False
        self._measure(state.nbytes, time.perf_counter() - begun)
        tokens = sequence.tokens[start : start + piece.used]
        self.cache.extend(slot, tokens)
        sequence.computed += piece.used
        if piece.block:
            self.hits.warm += piece.used
        else:
            self.hits.cold += piece.used
            if piece.used == piece.id.count:
                self.tiers.warm.put(Block(piece.id, tokens, state))
        return True

    def _measure(self, count: int, seconds: float) -> None:
        if count > 1 << 16:
            rate = count / max(seconds, 1e-6)
            self.speeds.warm += SMOOTH * (rate - self.speeds.warm)

    def _all_fetched(self, sequence: Sequence) -> None:
        """The rest is computed: at least the last token, whose logits are wanted."""
        sequence.restoring = None
        if sequence.computed == len(sequence.tokens):
            sequence.computed -= 1
            self._cells.trim(sequence.slot, sequence.computed)
            self.cache.shrink(sequence.slot, sequence.computed)
        if not sequence.first_token_at:
            sequence.cached = min(sequence.computed, sequence.prompt_length)

    # Ending.

    def retain(self, sequence: Sequence) -> None:
        """It has ended; its cells stay for a next turn until something else runs."""
        self.cache.retain(sequence.slot)
        self._saved[sequence.slot] = 0
        if sequence.request.priority == Priority.BATCH or sequence.computed < WORTH_DISK:
            self._passing.add(sequence.slot)

    def release(self, slot: int) -> None:
        """Its cells are free."""
        self._forget_progress(slot)
        self.cache.release(slot)
        self._cells.drop(slot)

    def _forget_progress(self, slot: int) -> None:
        self._saved.pop(slot, None)
        self._passing.discard(slot)

    # Saving and making room.

    def save_step(self) -> bool:
        """Copy one block of a retained sequence to the tiers; False when all are there."""
        return any(self._save_block(slot) for slot in self.cache.all_retained())

    def checkpoint(self, sequence: Sequence) -> None:
        """Keep the state of a running sequence whose state cannot be cut later."""
        if not self._shares_prefixes and sequence.computed >= BLOCK:
            durable = sequence.request.priority < Priority.BATCH
            self._save_whole(sequence.slot, durable=durable)

    def _save_block(self, slot: int, *, pinned: bool = False) -> bool:
        """Save the first block that the tiers lack; False when they lack none."""
        length = self.cache.length(slot)
        saved = self._saved.get(slot, length)
        durable = slot not in self._passing
        if saved >= length:
            return False
        if not self._shares_prefixes:
            self._saved[slot] = length
            return self._save_whole(slot, durable=durable, pinned=pinned)
        names = self.cache.names(slot)
        for index in range(saved // BLOCK, len(names)):
            parent = names[index - 1] if index else self.cache.root(slot)
            self._saved[slot] = (index + 1) * BLOCK
            if durable and not self.tiers.write(names[index]):
                self._passing.add(slot)  # what follows could not be found behind the gap
                durable = False
            if pinned or not self.tiers.has(names[index]):
                start = index * BLOCK
                block = BlockId(parent, names[index], BLOCK)
                self._keep(slot, block, start, durable=durable, pinned=pinned)
                return True
        self._saved[slot] = length
        return self._save_tail(slot, durable=durable, pinned=pinned)

    def _save_tail(self, slot: int, *, durable: bool, pinned: bool) -> bool:
        end = self.cache.length(slot)
        start = end // BLOCK * BLOCK
        if end - start < WORTH_KEEPING:
            return False
        names = self.cache.names(slot)
        parent = names[-1] if names else self.cache.root(slot)
        tail = self.cache.tokens(slot)[start:end]
        block = BlockId(parent, block_name(parent, tail), end - start)
        if self.tiers.has(block.name) and not pinned:
            return False
        self._keep(slot, block, start, durable=durable, pinned=pinned)
        return True

    def _keep(self, slot: int, block: BlockId, start: int, *, durable: bool, pinned: bool) -> None:
        end = start + block.count
        state = self._cells.save_range(slot, start, end)
        tokens = self.cache.tokens(slot)[start:end]
        if not self.tiers.put(Block(block, tokens, state), durable=durable, pinned=pinned):
            self._passing.add(slot)

    def _save_whole(self, slot: int, *, durable: bool, pinned: bool = False) -> bool:
        tokens = self.cache.tokens(slot)
        root = self.cache.root(slot)
        block = BlockId(root, block_name(root, tokens), len(tokens))
        if len(tokens) < WORTH_KEEPING or (self.tiers.has(block.name) and not pinned):
            return False
        state = self._cells.save(slot)
        self.tiers.put(Block(block, tokens, state), durable=durable, pinned=pinned)
        return True

    def evict_step(self) -> None:
        """Let the retained sequence that was used least recently leave the context, or save one of
        its blocks first."""
        victim = self.cache.victim()
        if victim is not None and not self._save_block(victim):
            self.release(victim)

    def evict(self) -> bool:
        """The same at once: its cells are needed. False when nothing is retained."""
        victim = self.cache.victim()
        if victim is None:
            return False
        while self._save_block(victim):
            pass
        self.release(victim)
        return True

    def has_room(self, cells: int) -> bool:
        """Whether so many cells are free, after giving up retained sequences if need be."""
        while self.cache.free_cells < cells:
            if not self.evict():
                return False
        return True

    # Parking.

    def park(self, sequence: Sequence) -> None:
        """It makes room: keep its state, where that is cheaper than computing it again."""
        if sequence.restoring is not None:
            sequence.restoring.cancel()
            sequence.restoring = None
        if sequence.computed:
            size = self._cells.state_bytes(sequence.slot)
            recompute = sequence.computed / self.speeds.prefill if self.speeds.prefill else 1e9
            cheaper = 2 * size / self.speeds.warm < recompute
            if cheaper and self._parked_bytes + size <= self._park_bytes:
                sequence.state = self._cells.save(sequence.slot)
                self._parked_bytes += sequence.state.nbytes
            else:
                sequence.computed = 0
        self.release(sequence.slot)
        sequence.slot = -1

    def forget_parked(self, sequence: Sequence) -> None:
        """It will not come back."""
        if sequence.state is not None:
            self._parked_bytes -= sequence.state.nbytes
            sequence.state = None

    def _resume(self, sequence: Sequence) -> None:
        """Put a parked sequence's cells back, or have them computed again."""
        state = sequence.state
        self.forget_parked(sequence)
        sequence.slot = self._open(sequence)
        done: array[int] = sequence.tokens[: sequence.computed]
        if state is None or not self._put_back(sequence.slot, done, state):
            sequence.computed = 0

    def _put_back(self, slot: int, tokens: "array[int]", state: State) -> bool:
        if not self.has_room(len(tokens)):
            return False
        self.cache.extend(slot, tokens)
        if self._cells.restore(slot, state):
            return True
        self._cells.drop(slot)
        self.cache.shrink(slot, 0)
        return False


def _reach(pieces: list[Piece]) -> int:
    return sum(piece.used for piece in pieces)
