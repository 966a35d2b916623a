"""What of a sequence lies outside the context, in RAM or on disk, and whether fetching it pays."""

from array import array
from collections.abc import Iterable, Sequence

import msgspec

from ai_assistant.kvcache.blocks import (
    BLOCK,
    Block,
    BlockId,
    State,
    block_name,
    block_names,
    common_prefix,
)
from ai_assistant.kvcache.cold import ColdStore, Fetch
from ai_assistant.kvcache.warm import WarmStore

WORTH_SHARING = 16
"""Shorter beginnings are computed again: that costs less than finding their cells."""
TAILS = 8
"""Tails on disk that are looked at: each costs a small read."""


class Piece(msgspec.Struct, frozen=True):
    """A block that can be fetched. `used` of its tokens are wanted."""

    id: BlockId
    used: int
    bytes: int
    block: Block | None
    """None: it is on disk."""


class Speeds(msgspec.Struct):
    """Measured rates, per second; 0 where nothing was measured yet."""

    prefill: float = 0.0
    """Tokens."""
    warm: float = 4e9
    """Bytes from RAM into the context."""
    cold: float = 5e8
    """Bytes from disk to RAM, unpacked."""

    def learn_cold(self, measured: float) -> None:
        """The disk's speed; 0 says nothing."""
        self.cold = measured or self.cold

    def seconds(self, piece: Piece) -> float:
        """What fetching costs."""
        into_context = piece.bytes / self.warm
        return into_context if piece.block else into_context + piece.bytes / self.cold


def worth_fetching(pieces: Sequence[Piece], known: int, start: int, speeds: Speeds) -> int:
    """How many of the pieces to fetch so that the most time is won against computing.

    The pieces begin at token `start`; up to token `known` the context has them already.
    """
    if not speeds.prefill:
        return len(pieces)
    best, most, won, end = 0, 0.0, 0.0, start
    for index, piece in enumerate(pieces):
        end += piece.used
        won += (piece.used - max(0, min(known, end) - (end - piece.used))) / speeds.prefill
        won -= speeds.seconds(piece)
        if won > most:
            best, most = index + 1, won
    return best


class Tiers:
    """The warm tier, and behind it the cold one where the plan has one."""

    def __init__(self, warm: WarmStore, cold: ColdStore | None, *, shares_prefixes: bool) -> None:
        self.warm = warm
        self.cold = cold
        self._shares_prefixes = shares_prefixes

    # Finding.

    def find(self, tokens: "array[int]", root: bytes) -> list[Piece]:
        """The longest known beginning of `tokens` in pieces, in order."""
        return self._chain(tokens, root) if self._shares_prefixes else self._whole(tokens, root)

    def _chain(self, tokens: "array[int]", root: bytes) -> list[Piece]:
        pieces: list[Piece] = []
        parent = root
        for name in block_names(root, tokens):
            piece = self._piece(BlockId(parent, name, BLOCK), BLOCK)
            if piece is None:
                break
            pieces.append(piece)
            parent = name
        if part := self._best_part(tokens, parent, len(pieces) * BLOCK):
            pieces.append(part)
        return pieces

    def _best_part(self, tokens: "array[int]", parent: bytes, start: int) -> Piece | None:
        """The block behind `parent` that begins most like the tokens from `start` on."""
        best: Piece | None = None
        seen: set[bytes] = set()
        for block in self.warm.children(parent):
            seen.add(block.id.name)
            used = common_prefix(block.tokens, tokens, 0, start)
            if used >= (best.used + 1 if best else WORTH_SHARING):
                best = Piece(block.id, used, block.state.nbytes, block)
        if self.cold is None or len(tokens) - start < WORTH_SHARING:
            return best
        for found in [one for one in self.cold.children(parent) if one.name not in seen][-TAILS:]:
            theirs = self.cold.tokens(found)
            used = common_prefix(theirs, tokens, 0, start) if theirs else 0
            if used >= (best.used + 1 if best else WORTH_SHARING):
                best = Piece(found, used, self._estimate(found), None)
        return best

    def _whole(self, tokens: "array[int]", root: bytes) -> list[Piece]:
        """The longest checkpoint that these tokens go on from, at least one token further."""
        limit = len(tokens) - 1
        best: Piece | None = None
        for block in self.warm.children(root):
            count = block.id.count
            if (best.used if best else 0) < count <= limit and (
                common_prefix(block.tokens, tokens, 0) == count
            ):
                best = Piece(block.id, count, block.state.nbytes, block)
        if self.cold is None:
            return [best] if best else []
        counts = {one.count for one in self.cold.children(root) if one.count <= limit}
        for count in sorted(counts, reverse=True):
            if best and count <= best.used:
                break
            name = block_name(root, tokens[:count])
            if self.cold.has(name):
                found = BlockId(root, name, count)
                best = Piece(found, count, self._estimate(found), None)
        return [best] if best else []

    def _piece(self, wanted: BlockId, used: int) -> Piece | None:
        block = self.warm.get(wanted.name)
        if block:
            return Piece(wanted, used, block.state.nbytes, block)
        if self.cold and self.cold.has(wanted.name):
            return Piece(wanted, used, self._estimate(wanted), None)
        return None

    def _estimate(self, block: BlockId) -> int:
        return self.cold.size(block.name) if self.cold else 0

    # Keeping.

    def has(self, name: bytes) -> bool:
        """Whether the block is in either tier."""
        return self.warm.get(name) is not None or (self.cold is not None and self.cold.has(name))

    def write(self, name: bytes) -> bool:
        """Have a warm block on disk too; False when the disk does not take it now."""
        block = self.warm.get(name)
        if self.cold is None or block is None or self.cold.has(name):
            return True
        return self.cold.put(block.id, block.tokens, block.state)

    def put(self, block: Block, *, durable: bool, pinned: bool = False) -> bool:
        """Keep a block, with `durable` also on disk; False when the disk does not take it now. It
        takes the place of its own beginnings."""
        replaced: bytes | None = None
        if self._shares_prefixes:
            for old in self.warm.children(block.id.parent):
                shorter = old.id.count < block.id.count and old.id.name not in self.warm.pinned
                if shorter and common_prefix(old.tokens, block.tokens, 0) == old.id.count:
                    self.warm.drop(old.id.name)
                    replaced = old.id.name
        self.warm.put(block, pinned=pinned)
        if durable and self.cold:
            return self.cold.put(
                block.id, block.tokens, block.state, replaces=replaced, pinned=pinned
            )
        return True

    def used(self, chain: Iterable[bytes]) -> None:
        """These blocks were useful; in the order of their tokens."""
        names = list(chain)
        self.warm.touch(names)
        if self.cold:
            self.cold.touch(names)


class Restoring:
    """Pieces on their way into the context, in order."""

    def __init__(self, pieces: Sequence[Piece], cold: ColdStore | None) -> None:
        self._pieces = list(pieces)
        self._next = 0
        self._fetch: Fetch | None = None
        on_disk = [piece.id.name for piece in pieces if piece.block is None]
        if on_disk and cold:
            self._fetch = cold.fetch(on_disk)

    @property
    def done(self) -> bool:
        """Nothing more will come: all is there or a block was lost."""
        if self._next < len(self._pieces):
            piece = self._pieces[self._next]
            return piece.block is None and (self._fetch is None or self._fetch.failed)
        return True

    def next(self, seconds: float) -> tuple[Piece, State] | None:
        """The next state; None where it has not come within `seconds`, or never will."""
        if self.done:
            return None
        piece = self._pieces[self._next]
        if piece.block:
            state = piece.block.state
        else:
            assert self._fetch is not None
            state = self._fetch.next(seconds)
        if state is None:
            return None
        self._next += 1
        return piece, state

    def cancel(self) -> None:
        """Nobody wants the rest."""
        if self._fetch:
            self._fetch.cancel()
        self._pieces = self._pieces[: self._next]
