"""Who waits and who runs. Admission is by free cells, so libllama never runs out in the middle:
ended sequences leave the context first, then the newest one of the lowest class is parked.
"""

import bisect
import time
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from functools import partial

from msgspec import structs

from ai_assistant.engine.admission import Limits, better_to_wait, candidates, fits, has_place
from ai_assistant.engine.compose import Pace, Part, compose
from ai_assistant.engine.fairness import Fairness
from ai_assistant.engine.floor import Floor
from ai_assistant.engine.residence import Known, Residence
from ai_assistant.engine.sequence import Sequence
from ai_assistant.engine.streams import Streams
from ai_assistant.engine.turns import Turns
from ai_assistant.kvcache.tiers import WORTH_SHARING
from ai_assistant.protocol.requests import Priority

FETCH_SECONDS, FETCH_SHARE = 0.003, 0.1
"""Blocks may come back for so long before a step, or for this share of the step before."""


class Batcher:
    """Waiting and running sequences of one context."""

    def __init__(
        self,
        residence: Residence,
        pace: Pace,
        limits: Limits,
        guess: Callable[[list[Part], int], list[Part]] = lambda parts, _room: parts,
    ) -> None:
        """`guess` may add guessed tokens to parts, up to a number of free cells."""
        self._guess = guess
        self._residence = residence
        self._cache = residence.cache
        self._room = residence.room
        self._parking = residence.parking
        self._pace = pace
        self._limits = self._planned = limits
        self._fairness = Fairness()
        self._floor = Floor(limits.batch_floor)
        self._streams = Streams(pace, limits.tpot_factor)
        self._turns = Turns()
        self.running: list[Sequence] = []
        self.waiting: list[Sequence] = []
        self.preemptions = 0
        self._last_step = 0.0

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
        self._fairness.stamp(sequence)
        self._queue(sequence)

    def _queue(self, sequence: Sequence) -> None:
        bisect.insort(self.waiting, sequence, key=_order)

    def allow(self, slots: int) -> None:
        """Let so many run at once, at most; 0: as planned. Who runs goes on to its end."""
        most = self._planned.slots
        self._limits = structs.replace(self._planned, slots=min(slots or most, most))

    # The next step.

    def next(self) -> list[Part]:
        """The parts of the next batch, their cells booked."""
        due = self._floor.due(self._present()) if self._mixed() else None
        if self.waiting:
            self._admit(due)
        self._residence.fetch(self.running, max(FETCH_SECONDS, FETCH_SHARE * self._last_step))
        if self.running and self._cache.retained:
            # What has ended leaves the context, where its cells slow every step: a block a step,
            # so that nobody waits for many copies. After a pause it is saved already.
            self._room.evict_step()
        self._room.compact(self.running)
        parts = self._pick(due)
        room = min(self._cache.free_cells, self._limits.chunk)
        parts = self._guess(parts, room - sum(part.count for part in parts))
        for part in parts:
            sequence, start = part.sequence, part.sequence.computed
            self._cache.extend(sequence.slot, sequence.tokens[start : start + part.count])
            if part.draft:
                self._cache.extend(sequence.slot, part.draft)
        return parts

    def spent(self, parts: list[Part], seconds: float) -> None:
        """A step with these parts took so long. Called before they end."""
        self._last_step = seconds
        self._turns.passed(parts, self.running)
        self._streams.passed(parts, seconds, self._cache.ledger.used)
        if self._mixed():
            served = {part.sequence.request.priority for part in parts}
            self._floor.spent(seconds, self._present(), served)
        else:
            self._floor.clear()

    def _mixed(self) -> bool:
        """Whether sequences of more than one class want something."""
        # Both are in order, so the ends say it.
        ends = [queue[end] for queue in (self.running, self.waiting) if queue for end in (0, -1)]
        return len({sequence.request.priority for sequence in ends}) > 1

    def _present(self) -> set[Priority]:
        return {sequence.request.priority for sequence in self._all()}

    def _pick(self, due: Priority | None) -> list[Part]:
        """Parts whose cells are free; whoever has no room is parked, the newest first."""
        while True:
            composed = partial(
                compose,
                self.running,
                self._pace,
                self._limits.chunk,
                short_first=self._turns.short_first,
            )
            parts = composed(due=due)
            if due is None and not self._streams.bear(parts):
                parts = composed(spare=False)
            parts = self._fit(parts)
            computing = any(sequence.restoring is None for sequence in self.running)
            if parts or not computing:
                return parts
            self._park(max(self.running, key=_order))

    def _fit(self, parts: list[Part]) -> list[Part]:
        """The parts for which there is room, a prompt's cut to what there is."""
        need = sum(part.count for part in parts)
        if self._room.has_room(need):
            return parts
        fitting: list[Part] = []
        free = self._cache.free_cells
        for part in parts:
            if not free:
                break
            count = min(part.count, free)
            fitting.append(part if count == part.count else Part(part.sequence, count))
            free -= count
        streams = sum(1 for part in parts if part.sequence.remaining == 1)
        # A stream without a cell would wait for ever: somebody has to make room.
        return fitting if len(fitting) >= min(streams, len(parts)) else []

    def unbook(self, parts: list[Part]) -> None:
        """The batch was not computed: take its cells back."""
        for part in parts:
            self._cache.shrink(part.sequence.slot, part.sequence.computed)

    def make_room(self, parts: list[Part]) -> bool:
        """The kernels found no place although the books said there is one: give something up.
        False when nothing is left to give up."""
        self.unbook(parts)
        if self._room.evict():
            return True
        if len(self.running) > 1:
            self._park(max(self.running, key=_order))
            return True
        return False

    def finish(self, sequence: Sequence, *, keep: bool = True) -> None:
        """A sequence ended; with `keep` its cells stay for a next turn."""
        if sequence.slot < 0:
            self._parking.forget(sequence)
            self.waiting.remove(sequence)
            return
        self.running.remove(sequence)
        sequence.stop_fetching()
        if keep and self._limits.retained and sequence.computed >= WORTH_SHARING:
            self._room.retain(sequence)
            if self._cache.retained > self._limits.retained:
                self._room.evict()
        else:
            self._room.release(sequence.slot)
        sequence.slot = -1

    def of_request(self, request_id: str) -> list[Sequence]:
        """All of a request's sequences that have not ended."""
        return [s for s in self._all() if s.request.request_id == request_id]

    def _all(self) -> Iterator[Sequence]:
        yield from self.running
        yield from self.waiting

    # Letting sequences in.

    def _admit(self, due: Priority | None) -> None:
        """Start what may start. Who has to wait holds back its own class and those below it."""
        blocked: Priority | None = None
        for sequence in candidates(self.waiting, due):
            priority = sequence.request.priority
            if blocked is not None and priority >= blocked:
                continue
            if not has_place(priority, self.running, self._limits, due):
                blocked = priority
                continue
            known = self._residence.find(sequence)
            if self._shares(sequence) and better_to_wait(sequence, known.length, self.running):
                continue
            known = self._make_way(sequence, known, due)
            if known is None:
                blocked = priority
                continue
            self._start(sequence, known)

    def _start(self, sequence: Sequence, known: Known) -> None:
        self.waiting.remove(sequence)
        self._residence.begin(sequence, known)
        self._fairness.started(sequence)
        if not sequence.started_at:
            sequence.started_at = time.perf_counter()
            sequence.cached = min(sequence.computed, sequence.prompt_length)
        bisect.insort(self.running, sequence, key=_order)

    def _make_way(self, sequence: Sequence, known: Known, due: Priority | None) -> Known | None:
        """Park lower classes until there are a place and cells. What is known of the sequence
        then; None where that does not do, and nothing is parked where it is seen before."""
        priority = sequence.request.priority
        lower = [s for s in self.running if priority < s.request.priority != due]
        if not self._fits(sequence, known, without=lower):
            return None
        places = self._limits.slots - (priority != due)
        while lower and (len(self.running) > places or not self._fits(sequence, known)):
            self._preempt(lower)
            # It may have been what was known.
            known = self._residence.find(sequence)
        if len(self.running) > self._limits.slots or not self._fits(sequence, known):
            return None
        if not self._cache.free_ids:
            self._room.evict()
            known = self._residence.find(sequence)
        return known

    def _shares(self, sequence: Sequence) -> bool:
        """Whether it can begin with cells that another one computes."""
        return sequence.state is None and self._limits.shares_prefixes

    def _fits(self, sequence: Sequence, known: Known, without: Items[Sequence] = ()) -> bool:
        return fits(sequence, known, self._cache, self.running, without)

    def _preempt(self, lower: list[Sequence]) -> None:
        """Park the newest of these, of the lowest class."""
        victim = max(lower, key=_order)
        lower.remove(victim)
        self._park(victim)
        self.preemptions += 1

    def _park(self, sequence: Sequence, *, at_any_cost: bool = False) -> None:
        """Queue it again at its old place."""
        self.running.remove(sequence)
        self._parking.park(sequence, at_any_cost=at_any_cost)
        self._queue(sequence)

    # Moving.

    def set_aside(self) -> None:
        """Take all that runs out of the context, its state kept, to its old place in the queue."""
        for sequence in list(self.running):
            self._park(sequence, at_any_cost=True)

    def follow(self, other: "Batcher") -> None:
        """Go on with another one's sequences and with what it knows of their turns."""
        self.running, self.waiting = other.running, other.waiting
        self.preemptions = other.preemptions
        self._fairness = other._fairness


def _order(sequence: Sequence) -> tuple[int, float, float, int]:
    return sequence.order
