"""Who runs, and which tokens go into the next decode call.

Admission is by free cells, so libllama never runs out in the middle: retained sequences are given
up first, then the newest sequence of the lowest class is parked and resumes later.
"""

import bisect
import time
from array import array
from collections.abc import Iterator
from typing import Protocol

import msgspec

from ai_assistant.engine.sequence import Sequence
from ai_assistant.kvcache.cache import KvCache, common_prefix
from ai_assistant.kvcache.warm import State, WarmSequence, WarmStore

WORTH_WAITING = 64
"""Tokens in common with a prompt that is being computed, from which waiting for it pays."""
WORTH_SHARING = 16
"""Shorter beginnings are computed again: that costs less than finding their cells."""
WORTH_KEEPING = 64
"""Shorter sequences are not saved when they leave the context."""
RESERVE = 32
"""Cells per running sequence that admission leaves free, so that parking stays rare."""
LOOK_AHEAD = 32
"""Waiting sequences that one admission looks at."""


class Cells(Protocol):
    """What the batcher asks of the kernels."""

    def share(self, source: int, target: int, length: int) -> None: ...
    def share_all(self, source: int, target: int) -> None: ...
    def drop(self, sequence: int) -> None: ...
    def trim(self, sequence: int, length: int) -> bool: ...
    def state_bytes(self, sequence: int) -> int: ...
    def save(self, sequence: int) -> State: ...
    def restore(self, sequence: int, state: State) -> bool: ...


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the plan allows."""

    slots: int
    retained: int
    chunk: int
    park_bytes: int
    warm_bytes: int
    shares_prefixes: bool


class Known(msgspec.Struct, frozen=True):
    """The longest known beginning of a sequence: `length` tokens, of a sequence in the context or
    of one in the warm tier."""

    length: int = 0
    holder: int = -1
    warm: WarmSequence | None = None


class Part(msgspec.Struct, frozen=True):
    """The next `count` tokens of a sequence."""

    sequence: Sequence
    count: int


class Batcher:
    """Waiting and running sequences of one context."""

    def __init__(self, cache: KvCache, cells: Cells, limits: Limits) -> None:
        self._cache = cache
        self._cells = cells
        self._limits = limits
        self.warm = WarmStore(limits.warm_bytes, shares_prefixes=limits.shares_prefixes)
        self.running: list[Sequence] = []
        self.waiting: list[Sequence] = []
        self._parked_bytes = 0
        self._saved: set[int] = set()
        """Retained sequences that the warm tier has already."""

    @property
    def busy(self) -> bool:
        """Whether anything is left to do."""
        return bool(self.running or self.waiting)

    @property
    def parked(self) -> int:
        """Waiting sequences that ran before."""
        return sum(1 for sequence in self.waiting if sequence.started_at)

    def add(self, sequence: Sequence) -> None:
        """Queue, behind its equals."""
        bisect.insort(self.waiting, sequence, key=_order)

    def next(self) -> list[Part]:
        """The parts of the next batch, their cells booked; decodes first."""
        if self.waiting and len(self.running) < self._limits.slots:
            self._admit()
        if self.running and self._cache.retained:
            # What has ended leaves the context, where its cells slow every step: one sequence a
            # step, so that nobody waits for many copies. After a pause it is saved already.
            self._evict()
        while True:
            parts = self._pick()
            if parts or not self.running:
                break
            self._park_newest()
        for part in parts:
            sequence = part.sequence
            start = sequence.computed
            self._cache.extend(sequence.slot, sequence.tokens[start : start + part.count])
        return parts

    def unbook(self, parts: list[Part]) -> None:
        """The batch was not computed: take its cells back."""
        for part in parts:
            self._cache.shrink(part.sequence.slot, part.sequence.computed)

    def make_room(self, parts: list[Part]) -> bool:
        """The kernels found no place although the books said there is one: give something up.
        False when nothing is left to give up."""
        self.unbook(parts)
        if self._evict():
            return True
        if len(self.running) > 1:
            self._park_newest()
            return True
        return False

    def finish(self, sequence: Sequence, *, keep: bool = True) -> None:
        """A sequence ended; with `keep` its cells stay for a next turn."""
        if sequence.slot < 0:
            self._forget_state(sequence)
            self.waiting.remove(sequence)
            return
        self.running.remove(sequence)
        if keep and self._limits.retained and sequence.computed >= WORTH_SHARING:
            self._cache.retain(sequence.slot)
            if self._cache.retained > self._limits.retained:
                self._evict()  # to the warm tier
        else:
            self._release(sequence.slot)
        sequence.slot = -1

    def of_request(self, request_id: str) -> list[Sequence]:
        """All of a request's sequences that have not ended."""
        return [s for s in self._all() if s.request.request_id == request_id]

    def _all(self) -> Iterator[Sequence]:
        yield from self.running
        yield from self.waiting

    # Picking tokens.

    def _pick(self) -> list[Part]:
        decodes = [s for s in self.running if s.remaining == 1][: self._limits.chunk]
        while self._cache.free_cells < len(decodes) and len(decodes) > 1:
            if not self._evict():
                parked = self._park_newest()
                if parked in decodes:
                    decodes.remove(parked)
        if decodes and not self._has_room(len(decodes)):
            return []
        parts = [Part(sequence, 1) for sequence in decodes]
        budget = self._limits.chunk - len(decodes)
        if decodes:
            budget = min(budget, max(self._limits.chunk // 4, 1))
        return parts + self._pick_prompts(budget, booked=len(decodes))

    def _pick_prompts(self, budget: int, booked: int) -> list[Part]:
        parts: list[Part] = []
        for sequence in sorted((s for s in self.running if s.remaining > 1), key=_order):
            count = min(sequence.remaining, budget)
            if not self._has_room(booked + count):
                count = self._cache.free_cells - booked
            if count <= 0:
                break
            parts.append(Part(sequence, count))
            budget -= count
            booked += count
        return parts

    def _has_room(self, cells: int) -> bool:
        while self._cache.free_cells < cells:
            if not self._evict():
                return False
        return True

    # Letting sequences in.

    def _admit(self) -> None:
        for sequence in self.waiting[:LOOK_AHEAD]:
            if len(self.running) >= self._limits.slots:
                return
            known = self._find(sequence)
            if self._better_to_wait(sequence, known.length):
                continue
            if self.running and not self._fits(sequence, known):
                return
            self._start(sequence, known)

    def _find(self, sequence: Sequence) -> Known:
        if sequence.state is not None:
            return Known()
        hot = self._cache.match(sequence.tokens)
        warm, length = self.warm.match(sequence.tokens)
        if warm and length >= hot.length + WORTH_SHARING and self._fits_free(len(warm.tokens)):
            return Known(length, warm=warm)
        return Known(hot.length, hot.holder) if hot.length >= WORTH_SHARING else Known()

    def _fits_free(self, cells: int) -> bool:
        return self._cache.free_cells + self._cache.retained_cells() >= cells

    def _better_to_wait(self, sequence: Sequence, known: int) -> bool:
        """Whether a running prompt will soon have computed much of this one's beginning."""
        if sequence.state is not None or not self._limits.shares_prefixes:
            return False
        for other in self.running:
            if other.remaining > 1 and other.request.priority <= sequence.request.priority:
                common = common_prefix(other.tokens, sequence.tokens, 0)
                common = min(common, len(sequence.tokens) - 1)
                if common >= known + WORTH_WAITING and other.computed < common:
                    return True
        return False

    def _fits(self, sequence: Sequence, known: Known) -> bool:
        need = len(sequence.tokens) + RESERVE * (len(self.running) + 1)
        if known.holder >= 0 and not self._cache.is_retained(known.holder):
            need -= known.length
        booked = sum(other.remaining for other in self.running)
        return self._fits_free(need + booked)

    def _start(self, sequence: Sequence, known: Known) -> None:
        self.waiting.remove(sequence)
        if sequence.state is not None:
            sequence.slot = self._cache.open()
            self._resume(sequence)
        elif known.warm:
            sequence.slot = self._cache.open()
            self._warm_up(sequence, known.warm, known.length)
        elif known.length:
            self._continue(sequence, known)
        else:
            sequence.slot = self._cache.open()
        if not sequence.started_at:
            sequence.started_at = time.perf_counter()
            sequence.cached = sequence.computed
        bisect.insort(self.running, sequence, key=_order)

    def _continue(self, sequence: Sequence, known: Known) -> None:
        """Begin with the cells of a sequence in the context. A sequence id is free: there are as
        many as slots and retained sequences together."""
        holder, length = known.holder, known.length
        sequence.computed = length
        if self._cache.is_retained(holder) and length == self._cache.length(holder):
            sequence.slot = holder
            self._saved.discard(holder)
            self._cache.adopt(holder)
            return
        sequence.slot = self._cache.open()
        self._cache.share(holder, sequence.slot, length)
        if self._limits.shares_prefixes:
            self._cells.share(holder, sequence.slot, length)
        else:
            self._cells.share_all(holder, sequence.slot)

    def _warm_up(self, sequence: Sequence, warm: WarmSequence, length: int) -> None:
        """Begin with the first `length` tokens of a sequence in the warm tier."""
        self.warm.touch(warm)
        if not self._put_back(sequence.slot, warm.tokens, warm.state):
            return
        if length < len(warm.tokens):
            self._cells.trim(sequence.slot, length)
            self._cache.shrink(sequence.slot, length)
        sequence.computed = length

    def _put_back(self, slot: int, tokens: "array[int]", state: State) -> bool:
        """Restore a saved state into an empty slot; False where that was not possible."""
        if not self._has_room(len(tokens)):
            return False
        self._cache.extend(slot, tokens)
        if self._cells.restore(slot, state):
            return True
        self._cells.drop(slot)
        self._cache.shrink(slot, 0)
        return False

    # Making room.

    def save_one(self) -> bool:
        """Copy a retained sequence to the warm tier; False when all are there. For idle moments:
        it takes as long as reading the sequence's cells."""
        for slot in self._cache.all_retained():
            if slot not in self._saved:
                self._save(slot)
                return True
        return False

    def _save(self, slot: int) -> None:
        self._saved.add(slot)
        if self._cache.length(slot) < WORTH_KEEPING:
            return
        # Asked first: a copy that does not fit would only cost time and memory.
        if self._cells.state_bytes(slot) <= self._limits.warm_bytes:
            self.warm.put(self._cache.tokens(slot), self._cells.save(slot))

    def _evict(self) -> bool:
        """Move the retained sequence that was used least recently to the warm tier."""
        victim = self._cache.victim()
        if victim is None:
            return False
        if victim not in self._saved:
            self._save(victim)
        self._release(victim)
        return True

    def _release(self, slot: int) -> None:
        self._saved.discard(slot)
        self._cache.release(slot)
        self._cells.drop(slot)

    def _park_newest(self) -> Sequence:
        """Save the newest sequence of the lowest class and queue it again at its old place."""
        sequence = max(self.running, key=_order)
        self.running.remove(sequence)
        if sequence.computed:
            size = self._cells.state_bytes(sequence.slot)
            if self._parked_bytes + size <= self._limits.park_bytes:
                sequence.state = self._cells.save(sequence.slot)
                self._parked_bytes += sequence.state.nbytes
            else:
                sequence.computed = 0
        self._release(sequence.slot)
        sequence.slot = -1
        self.add(sequence)
        return sequence

    def _resume(self, sequence: Sequence) -> None:
        """Put a parked sequence's cells back, or have them computed again."""
        state = sequence.state
        self._forget_state(sequence)
        done = sequence.tokens[: sequence.computed]
        if state is None or not self._put_back(sequence.slot, done, state):
            sequence.computed = 0

    def _forget_state(self, sequence: Sequence) -> None:
        if sequence.state is not None:
            self._parked_bytes -= sequence.state.nbytes
            sequence.state = None


def _order(sequence: Sequence) -> tuple[int, float, int]:
    return sequence.order
