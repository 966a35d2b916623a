"""Which cells each sequence holds, and how many are free: a mirror of libllama's unified cache.

There a cell has a set of owners and is free when the last one lets go (engine research: kv-cells).
The ids here are our own; only their number is the same.
"""

from collections.abc import Iterable

import numpy as np


class OutOfCells(Exception):
    """More cells were asked for than are free."""


class CellLedger:
    """Owners of `total` cells."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.high_water = 0
        """The most cells that were in use since none was, or since `settled`."""
        self._owners = np.zeros(total, np.int32)
        self._free = list(range(total - 1, -1, -1))
        self._held: dict[int, list[int]] = {}

    @property
    def free(self) -> int:
        """Cells without an owner."""
        return len(self._free)

    @property
    def used(self) -> int:
        """Cells with an owner."""
        return self.total - len(self._free)

    @property
    def any_shared(self) -> bool:
        """Whether a cell has two owners."""
        return bool((self._owners > 1).any())

    def settled(self) -> None:
        """All that is in use lies at the beginning."""
        self.high_water = self.used

    def held(self, sequence: int) -> int:
        """Cells of a sequence, shared ones included."""
        return len(self._held.get(sequence, ()))

    def take(self, sequence: int, count: int) -> None:
        """Give a sequence `count` new cells; raises `OutOfCells` and changes nothing."""
        if count > len(self._free):
            raise OutOfCells(f"{count} cells wanted, {len(self._free)} free")
        cells = self._held.setdefault(sequence, [])
        if count == 1:
            cell = self._free.pop()
            self._owners[cell] = 1
            cells.append(cell)
        else:
            new = self._free[-count:]
            del self._free[-count:]
            self._owners[new] = 1
            cells.extend(new)
        self.high_water = max(self.high_water, self.used)

    def share(self, source: int, target: int, length: int) -> None:
        """Make `target`, which holds nothing, an owner of the first `length` cells of `source`."""
        shared = self._held[source][:length]
        self._owners[shared] += 1
        self._held[target] = shared

    def drop(self, sequence: int, keep: int = 0) -> None:
        """Let go of all cells from position `keep` on."""
        cells = self._held.get(sequence)
        if not cells:
            return
        gone = cells[keep:]
        del cells[keep:]
        if not keep:
            del self._held[sequence]
        self._owners[gone] -= 1
        self._free.extend(cell for cell in gone if self._owners[cell] == 0)
        if not self.used:
            self.high_water = 0

    def would_free(self, sequences: Iterable[int]) -> int:
        """Cells that would be free if these sequences went."""
        cells = [cell for sequence in sequences for cell in self._held.get(sequence, ())]
        if not cells:
            return 0
        index, count = np.unique(np.asarray(cells), return_counts=True)
        return int((self._owners[index] == count).sum())

    def check_integrity(self) -> None:
        """Raise `AssertionError` unless owners, held cells and free cells agree."""
        owners = np.zeros(self.total, np.int32)
        for cells in self._held.values():
            assert len(set(cells)) == len(cells), "a sequence holds a cell twice"
            owners[cells] += 1
        assert (owners == self._owners).all(), "the owners' counts are wrong"
        free = set(self._free)
        assert len(free) == len(self._free), "a cell is free twice"
        assert free == set(np.flatnonzero(owners == 0).tolist()), "free cells are wrong"
