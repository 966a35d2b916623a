"""Where a sequence's KV cells are: in the context, in RAM or on disk; and bringing them back.

Decisions about blocks are the cache's, the bytes are the kernels'; what moves when is decided here,
so that no step waits long. What leaves the context is saved by the `Saver`, `Room` says who has to
leave, and `Parking` keeps those that will come back.
"""

import time
from array import array
from collections.abc import Sequence as Items

import msgspec

from ai_assistant.engine.kernels import Context
from ai_assistant.engine.parking import Parking
from ai_assistant.engine.room import Room
from ai_assistant.engine.saving import Saver
from ai_assistant.engine.sequence import Sequence
from ai_assistant.kvcache.blocks import BLOCK, Block, State, common_prefix
from ai_assistant.kvcache.cache import KvCache
from ai_assistant.kvcache.tiers import (
    WORTH_SHARING,
    Piece,
    Restoring,
    Speeds,
    Tiers,
    worth_fetching,
)

PATIENT_SECONDS = 0.005
"""How long an engine that has nothing else to do waits for a block before it looks around."""
ALONE_SECONDS = 0.05
"""How long blocks may come back before new orders are looked at, if nobody else has work."""
SMOOTH = 0.2
"""Weight of the newest measurement."""


class Known(msgspec.Struct, frozen=True):
    """The longest known beginning of a sequence: `hot` tokens of `holder` in the context, and the
    pieces that follow them."""

    hot: int = 0
    holder: int = -1
    pieces: tuple[Piece, ...] = ()

    @property
    def length(self) -> int:
        """Tokens in all."""
        return self.hot + _reach(self.pieces)


class Hits(msgspec.Struct):
    """Prompt tokens that came from outside the context."""

    warm: int = 0
    cold: int = 0


class Residence:
    """The cells of one context's sequences."""

    def __init__(
        self,
        cache: KvCache,
        cells: Context,
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
        self.saver = Saver(cache, cells, tiers, self.speeds, shares_prefixes=shares_prefixes)
        self.room = Room(cache, cells, self.saver, shares_prefixes=shares_prefixes)
        self.parking = Parking(self.room, park_bytes)
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
        reach = start + _reach(chosen)
        room = sum(piece.id.count for piece in chosen)
        if reach >= hot.length + WORTH_SHARING and self.cache.available() >= room:
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

    def begin(self, sequence: Sequence, known: Known) -> None:
        """Give it a place in the context and all that is known of it."""
        if sequence.state is not None:
            self.parking.resume(sequence)
            return
        if known.hot:
            self._continue(sequence, known)
        else:
            sequence.slot = self.room.open(sequence)
        if known.pieces:
            sequence.restoring = Restoring(known.pieces, self.tiers.cold)
            self.tiers.used(piece.id.name for piece in known.pieces)

    def _continue(self, sequence: Sequence, known: Known) -> None:
        """Begin with the cells of a sequence in the context."""
        holder, length = known.holder, known.hot
        sequence.computed = length
        if self.cache.is_retained(holder) and length == self.cache.length(holder):
            sequence.slot = holder
            self.saver.forget(holder)
            self.cache.adopt(holder)
            return
        sequence.slot = self.room.open(sequence)
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
            if not self._put_behind(slot, tokens, *found):
                break
        restoring.cancel()
        return slot

    def close_pin(self, slot: int) -> None:
        """All is computed: keep it in the tiers and leave the context."""
        self.saver.pin(slot)
        self.room.release(slot)

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
        start = sequence.computed
        begun = time.perf_counter()
        if not self._put_behind(sequence.slot, sequence.tokens, piece, state):
            return False
        self._measure(state.nbytes, time.perf_counter() - begun)
        sequence.computed += piece.used
        if piece.block:
            self.hits.warm += piece.used
        else:
            self.hits.cold += piece.used
            if piece.used == piece.id.count:
                tokens = sequence.tokens[start : sequence.computed]
                self.tiers.warm.put(Block(piece.id, tokens, state))
        return True

    def _put_behind(self, slot: int, tokens: "array[int]", piece: Piece, state: State) -> bool:
        """Restore a piece of `tokens` behind a slot's cells; False where it cannot be."""
        if not self.room.has_room(piece.id.count):
            return False
        start = self.cache.length(slot)
        end = start + piece.used
        if self._shares_prefixes:
            done = self._cells.restore_range(slot, state)
            if done and piece.used < piece.id.count:
                self._cells.trim(slot, end)
        else:
            done = self._cells.restore(slot, state)
        if done:
            self.cache.extend(slot, tokens[start:end])
        return done

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

    # Moving.

    def follow(self, other: "Residence") -> None:
        """Go on with what another context's residence knows and has parked."""
        self.speeds = self.saver.speeds = other.speeds
        self.hits = other.hits
        self.room.compactions = other.room.compactions
        self.parking.follow(other.parking)
        self._pinned = other._pinned

    @property
    def pinned(self) -> list["array[int]"]:
        """The prompts that no tier gives up."""
        return self._pinned


def _reach(pieces: Items[Piece]) -> int:
    return sum(piece.used for piece in pieces)
