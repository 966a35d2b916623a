"""Sequences that made room for others: their states wait in RAM, where that pays."""

from array import array

from ai_assistant.engine.room import Room
from ai_assistant.engine.sequence import Sequence
from ai_assistant.kvcache.blocks import State


class Parking:
    """The states of one context's parked sequences, up to a number of bytes."""

    def __init__(self, room: Room, limit: int) -> None:
        """`limit` is in bytes."""
        self._room = room
        self._limit = limit
        self._bytes = 0

    def park(self, sequence: Sequence, *, at_any_cost: bool = False) -> None:
        """It makes room: keep its state, where that is cheaper than computing it again."""
        sequence.stop_fetching()
        if sequence.computed:
            size = self._room.cells.state_bytes(sequence.slot)
            fits = self._pays(sequence, size) and self._bytes + size <= self._limit
            if fits or at_any_cost:
                self.take_in(sequence, self._room.cells.save(sequence.slot))
            else:
                sequence.computed = 0
        self._room.release(sequence.slot)
        sequence.slot = -1

    def _pays(self, sequence: Sequence, size: int) -> bool:
        """Whether copying so many bytes out and in takes less than computing them again."""
        speeds = self._room.saver.speeds
        recompute = sequence.computed / speeds.prefill if speeds.prefill else 1e9
        return self._room.copy_seconds(sequence) + size / speeds.warm < recompute

    def take_in(self, sequence: Sequence, state: State) -> None:
        """A sequence waits with this state."""
        sequence.state = state
        self._bytes += state.nbytes

    def forget(self, sequence: Sequence) -> None:
        """It will not come back, or its state is not wanted."""
        if sequence.state is not None:
            self._bytes -= sequence.state.nbytes
            sequence.state = None

    def compute_again(self, sequence: Sequence) -> None:
        """Forget the state of a parked sequence: it does not fit, or there is no room for it."""
        self.forget(sequence)
        sequence.computed = 0

    def resume(self, sequence: Sequence) -> None:
        """Put a parked sequence's cells back, or have them computed again."""
        state = sequence.state
        self.forget(sequence)
        sequence.slot = self._room.open(sequence)
        done: array[int] = sequence.tokens[: sequence.computed]
        if state is None or not self._put_back(sequence.slot, done, state):
            sequence.computed = 0

    def _put_back(self, slot: int, tokens: "array[int]", state: State) -> bool:
        if not self._room.has_room(len(tokens)):
            return False
        self._room.cache.extend(slot, tokens)
        if self._room.cells.restore(slot, state):
            return True
        self._room.cells.drop(slot)
        self._room.cache.shrink(slot, 0)
        return False

    def follow(self, other: "Parking") -> None:
        """Go on with what another context's sequences have parked."""
        self._bytes = other._bytes
