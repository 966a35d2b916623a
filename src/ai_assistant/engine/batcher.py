"""Who waits and who runs. Admission is by free cells, so libllama never runs out in the middle:
ended sequences leave the context first, then the newest one of the lowest class is parked.
"""

import bisect
import time
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from functools import partial

import msgspec
from msgspec import structs

from ai_assistant.engine.allowance import Allowance, unloaded
from ai_assistant.engine.compose import Pace, Part, compose, protected_streams
from ai_assistant.engine.fairness import Fairness
from ai_assistant.engine.floor import Floor
from ai_assistant.engine.residence import Known, Residence
from ai_assistant.engine.sequence import Sequence
from ai_assistant.engine.turns import Turns
from ai_assistant.kvcache.blocks import common_prefix
from ai_assistant.kvcache.tiers import WORTH_SHARING
from ai_assistant.protocol.requests import Priority

WORTH_WAITING = 64
"""Tokens in common with a prompt that is being computed, from which waiting for it pays."""
RESERVE = 32
"""Cells per running sequence that admission leaves free, so that parking stays rare."""
FETCH_SECONDS, FETCH_SHARE = 0.003, 0.1
"""Blocks may come back for so long before a step, or for this share of the step before."""
LOOK_AHEAD = 32
"""Waiting sequences that one admission looks at."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the plan allows."""

    slots: int
    retained: int
    chunk: int
    shares_prefixes: bool
    batch_floor: float = 0.05
    tpot_factor: float = 2.0


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
        self._allowance = Allowance(limits.tpot_factor)
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
        streams = _protected(parts)
        priority = streams[0].sequence.request.priority if streams else None
        self._allowance.passed(priority, self._unloaded(streams, parts, seconds), seconds)
        if self._mixed():
            served = {part.sequence.request.priority for part in parts}
            self._floor.spent(seconds, self._present(), served)
        else:
            self._floor.clear()

    def _unloaded(self, streams: list[Part], parts: list[Part], seconds: float) -> float:
        """What a step would have taken if there was nothing but these streams."""
        tokens = sum(1 + len(part.draft) for part in streams)
        predicted = None if len(streams) == len(parts) else self._pace.seconds(tokens)
        own = sum(part.sequence.computed for part in streams)
        empty = self._pace.empty(tokens)
        return unloaded(predicted or seconds, empty, own, self._cache.ledger.used)

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
            if due is None and not self._bearable(parts):
                parts = composed(spare=False)
            parts = self._fit(parts)
            computing = any(sequence.restoring is None for sequence in self.running)
            if parts or not computing:
                return parts
            self._park(max(self.running, key=_order))

    def _bearable(self, parts: list[Part]) -> bool:
        """Whether the streams of the highest class can spare what the others' part costs."""
        streams = _protected(parts)
        alone = self._pace.seconds(len(streams))
        if not streams or len(streams) == len(parts) or alone is None:
            return True
        total = self._pace.seconds(sum(part.count for part in parts)) or alone
        return self._allowance.bears(streams[0].sequence.request.priority, total - alone)

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
        for sequence in self._candidates(due):
            priority = sequence.request.priority
            if blocked is not None and priority >= blocked:
                continue
            if not self._has_place(priority, due):
                blocked = priority
                continue
            known = self._residence.find(sequence)
            if self._better_to_wait(sequence, known.length):
                continue
            known = self._make_way(sequence, known, due)
            if known is None:
                blocked = priority
                continue
            self._start(sequence, known)

    def _has_place(self, priority: Priority, due: Priority | None) -> bool:
        """Whether a sequence of this class may run beside its equals and betters. The class whose
        turn it is may have one place more than there are."""
        places = self._limits.slots + (priority == due and self._limits.retained > 0)
        return sum(1 for one in self.running if one.request.priority <= priority) < places

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

    def _candidates(self, due: Priority | None) -> list[Sequence]:
        first = self.waiting[:LOOK_AHEAD]
        if due is None:
            return first
        turn = next((s for s in self.waiting if s.request.priority == due), None)
        return first if turn is None else [turn, *(s for s in first if s is not turn)]

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

    def _better_to_wait(self, sequence: Sequence, known: int) -> bool:
        """Whether a running prompt will soon have computed much of this one's beginning."""
        if sequence.state is not None or not self._limits.shares_prefixes:
            return False
        for other in self.running:
            if other.remaining > 1 and _goes_before(other, sequence):
                common = common_prefix(other.tokens, sequence.tokens, 0)
                common = min(common, len(sequence.tokens) - 1)
                if common >= known + WORTH_WAITING and other.computed < common:
                    return True
        return False

    def _fits(self, sequence: Sequence, known: Known, without: Items[Sequence] = ()) -> bool:
        """Whether its cells are free, or would be `without` some of those that run. Who runs alone
        always fits: the intake has seen to that."""
        stay = [one for one in self.running if one not in without]
        if not stay and not without:
            return True
        need = len(sequence.tokens) + RESERVE * (len(stay) + 1)
        if known.hot and not self._cache.is_retained(known.holder):
            need -= known.hot
        booked = sum(other.remaining for other in stay)
        return self._cache.available([one.slot for one in without]) >= need + booked

    def _start(self, sequence: Sequence, known: Known) -> None:
        self.waiting.remove(sequence)
        self._residence.begin(sequence, known)
        self._fairness.started(sequence)
        if not sequence.started_at:
            sequence.started_at = time.perf_counter()
            sequence.cached = min(sequence.computed, sequence.prompt_length)
        bisect.insort(self.running, sequence, key=_order)


def _protected(parts: list[Part]) -> list[Part]:
    """The parts of the streams whose pace is kept."""
    single = [part for part in parts if part.count == 1]
    kept = protected_streams([part.sequence for part in single])
    return single[: len(kept)]


def _goes_before(one: Sequence, other: Sequence) -> bool:
    same_tenant = one.request.tenant == other.request.tenant
    return same_tenant and one.request.priority <= other.request.priority


def _order(sequence: Sequence) -> tuple[int, float, float, int]:
    return sequence.order
