"""Which tokens lie in the draft model's context, and for whom: books without kernels."""

from array import array

from ai_assistant.engine.sequence import Sequence
from ai_assistant.kvcache.blocks import common_prefix

WORTH_KEEPING = 16
"""Tokens in common from which a new sequence goes on in the place of an ended one."""

SPARE = 32
"""Cells for each place that a step's guesses may take without being counted."""


class Slot:
    """One sequence id of the draft's context."""

    __slots__ = ("agreed", "drafted", "id", "levels", "owner", "start", "tokens", "used")

    def __init__(self, number: int) -> None:
        self.id = number
        self.tokens = array("i")
        """Computed, in order."""
        self.owner: Sequence | None = None
        self.agreed = 0
        """So many of them are known to be the owner's."""
        self.used = 0
        """When it was last asked for."""
        self.start = 0
        """The position for which `drafted` begins, the latest guess, with its levels."""
        self.drafted: list[int] = []
        self.levels: list[int] = []


class Slots:
    """A few places. Who has one keeps it while it runs; the others wait for one to come free."""

    def __init__(self, count: int, cells: int) -> None:
        self.slots = [Slot(number) for number in range(count)]
        self._cells = cells - count * SPARE
        self._clock = 0

    @property
    def used_cells(self) -> int:
        """Tokens that lie in the context."""
        return sum(len(slot.tokens) for slot in self.slots)

    def of(self, sequence: Sequence) -> Slot | None:
        """The sequence's own."""
        for slot in self.slots:
            if slot.owner is sequence:
                self._clock += 1
                slot.used = self._clock
                return slot
        return None

    def take(self, sequence: Sequence) -> Slot | None:
        """A place for a sequence: of those of ended ones the one whose beginning it shares, else
        the one that was not asked for the longest. None where all of them run."""
        idle = [slot for slot in self.slots if _ended(slot)]
        if not idle:
            return None
        shared = {slot.id: common_prefix(slot.tokens, sequence.tokens, 0) for slot in idle}
        best = max(idle, key=lambda slot: shared[slot.id])
        if shared[best.id] < WORTH_KEEPING:
            best = min(idle, key=lambda slot: slot.used)
        self._clock += 1
        best.owner, best.agreed, best.used = sequence, 0, self._clock
        best.drafted, best.levels = [], []
        return best

    def known(self, sequence: Sequence) -> int:
        """Tokens of its beginning that it would find in a place that it took."""
        idle = (slot for slot in self.slots if _ended(slot))
        return max((common_prefix(one.tokens, sequence.tokens, 0) for one in idle), default=0)

    def crowding(self, more: int) -> list[Slot] | None:
        """Which ended sequences' tokens must go so that `more` fit; None where that is not
        enough."""
        over = self.used_cells + more - self._cells
        gone: list[Slot] = []
        for slot in sorted(self.slots, key=lambda slot: slot.used):
            if over <= 0:
                break
            if slot.tokens and _ended(slot):
                over -= len(slot.tokens)
                gone.append(slot)
        return gone if over <= 0 else None

    def release(self, sequence: Sequence) -> None:
        """It ended. What is computed of it stays: its next turn may begin so."""
        for slot in self.slots:
            if slot.owner is sequence:
                slot.owner = None


def agree(slot: Slot, sequence: Sequence) -> int:
    """How many of the slot's tokens are the sequence's; one of the sequence's stays to be
    computed, since its output is what is asked for."""
    known, tokens = slot.tokens, sequence.tokens
    place, end = slot.agreed, min(len(known), len(tokens) - 1)
    place = min(place, end)
    while place < end and known[place] == tokens[place]:
        place += 1
    slot.agreed = place
    return place


def _ended(slot: Slot) -> bool:
    """Nobody's, or that of a sequence that does not run any more (an aborted one says nothing)."""
    return slot.owner is None or slot.owner.slot < 0
