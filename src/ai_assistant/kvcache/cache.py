"""The KV cache of one context: sequence ids, their tokens, what can be shared, what can go.

Pure bookkeeping: the engine carries out on the kernels what the calls here decide.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from ai_assistant.kvcache.blocks import (
    BLOCK,
    block_name,
    block_names,
    common_prefix,
    root_name,
)
from ai_assistant.kvcache.ledger import CellLedger

Tokens = Sequence[int]


class Match(msgspec.Struct, frozen=True):
    """The longest known beginning of some tokens: `length` cells of sequence `holder`."""

    holder: int
    length: int


NO_MATCH = Match(-1, 0)


class _Resident:
    """A sequence with cells: its tokens in order, the names of its full blocks, and the positions
    at which a run of neighbouring cells begins."""

    __slots__ = ("names", "root", "runs", "tokens")

    def __init__(self, root: bytes) -> None:
        self.root = root
        self.tokens = array("i")
        self.names: list[bytes] = []
        self.runs = array("i")


class KvCache:
    """Cells and sequence ids of one context.

    `shares_prefixes` False (sliding window, recurrent): only a whole sequence can be continued.
    """

    def __init__(self, *, cells: int, sequences: int, shares_prefixes: bool) -> None:
        self.ledger = CellLedger(cells)
        self._shares_prefixes = shares_prefixes
        self._ids = list(range(sequences - 1, -1, -1))
        self._resident: dict[int, _Resident] = {}
        self._retained: OrderedDict[int, None] = OrderedDict()
        self._holders: dict[bytes, set[int]] = {}
        self._last = -1
        """The sequence that took cells last: its next ones lie beside them."""

    # What is there.

    @property
    def free_cells(self) -> int:
        """Cells that can be taken now."""
        return self.ledger.free

    @property
    def free_ids(self) -> int:
        """Sequence ids that can be opened now."""
        return len(self._ids)

    @property
    def retained(self) -> int:
        """Ended sequences that are kept."""
        return len(self._retained)

    def is_retained(self, sequence: int) -> bool:
        """Whether a sequence has ended and is only kept."""
        return sequence in self._retained

    def all_retained(self) -> list[int]:
        """Ended sequences that are kept, the least recently used one first."""
        return list(self._retained)

    def available(self, sequences: Sequence[int] = ()) -> int:
        """Cells that are free or would be without the retained sequences and these."""
        return self.ledger.free + self.ledger.would_free([*self._retained, *sequences])

    def retained_cells(self) -> int:
        """Cells that giving up all retained sequences would free."""
        return self.ledger.would_free(self._retained)

    def tokens(self, sequence: int, start: int = 0, end: int | None = None) -> "array[int]":
        """The tokens that a sequence has in the cache, or some of them, a copy."""
        return self._resident[sequence].tokens[start:end]

    def names(self, sequence: int) -> list[bytes]:
        """The names of a sequence's full blocks."""
        return self._resident[sequence].names

    def root_of(self, salt: bytes) -> bytes:
        """What stands before the first block of a tenant's sequences."""
        return root_name(salt)

    def root(self, sequence: int) -> bytes:
        """What stands before a sequence's first block."""
        return self._resident[sequence].root

    def length(self, sequence: int) -> int:
        """Tokens that a sequence has in the cache."""
        return len(self._resident[sequence].tokens)

    def runs(self, sequence: int, start: int, end: int) -> int:
        """Runs of neighbouring cells that the positions from `start` to before `end` lie in, as far
        as is known: the kernels take the next free cells, step by step."""
        runs = self._resident[sequence].runs
        return 1 + bisect_left(runs, end) - bisect_right(runs, start)

    # Finding a known beginning.

    def match(self, tokens: "array[int]", salt: bytes = b"") -> Match:
        """The best holder of a beginning of `tokens`, at most all but the last token of it."""
        limit = len(tokens) - 1
        root = root_name(salt)
        candidates, start = self._with_root(root), 0
        if self._shares_prefixes:
            candidates, start = self._block_holders(tokens, root)
        best = NO_MATCH
        for sequence in candidates:
            resident = self._resident[sequence]
            length = min(start + common_prefix(resident.tokens, tokens, start), limit)
            if not self._shares_prefixes and length < len(resident.tokens):
                continue
            if length > best.length:
                best = Match(sequence, length)
        return best

    def _block_holders(self, tokens: "array[int]", root: bytes) -> tuple[list[int], int]:
        """The sequences that hold the most full blocks of `tokens`, and how many tokens that is."""
        holders: set[int] | None = None
        depth = 0
        for name in block_names(root, tokens):
            found = self._holders.get(name)
            if not found:
                break
            holders, depth = found, depth + BLOCK
        return (self._with_root(root) if holders is None else list(holders)), depth

    def _with_root(self, root: bytes) -> list[int]:
        return [s for s, resident in self._resident.items() if resident.root == root]

    # The life of a sequence.

    def open(self, salt: bytes = b"") -> int:
        """A new sequence id without cells; the caller has seen to it that one is free."""
        sequence = self._ids.pop()
        self._resident[sequence] = _Resident(root_name(salt))
        return sequence

    def share(self, source: int, target: int, length: int) -> None:
        """Let `target`, just opened, begin with the first `length` cells of `source`."""
        self.ledger.share(source, target, length)
        giver, taker = self._resident[source], self._resident[target]
        taker.tokens = giver.tokens[:length]
        taker.names = giver.names[: length // BLOCK]
        taker.runs = giver.runs[: bisect_left(giver.runs, length)]
        for name in taker.names:
            self._holders[name].add(target)
        self.touch(source)

    def touch(self, sequence: int) -> None:
        """A retained sequence was useful: it goes last."""
        if sequence in self._retained:
            self._retained.move_to_end(sequence)

    def adopt(self, sequence: int) -> None:
        """Run a retained sequence again: its next turn has come."""
        del self._retained[sequence]

    def extend(self, sequence: int, tokens: Tokens) -> None:
        """Book the cells of the next tokens; raises `OutOfCells` and changes nothing."""
        self.ledger.take(sequence, len(tokens))
        resident = self._resident[sequence]
        if sequence != self._last:
            self._last = sequence
            resident.runs.append(len(resident.tokens))
        resident.tokens.extend(tokens)
        if len(resident.tokens) // BLOCK > len(resident.names):
            self._name_blocks(sequence, resident)

    def _name_blocks(self, sequence: int, resident: _Resident) -> None:
        for start in range(len(resident.names) * BLOCK, len(resident.tokens) - BLOCK + 1, BLOCK):
            parent = resident.names[-1] if resident.names else resident.root
            name = block_name(parent, resident.tokens[start : start + BLOCK])
            resident.names.append(name)
            self._holders.setdefault(name, set()).add(sequence)

    def shrink(self, sequence: int, length: int) -> None:
        """Forget all from position `length` on: those tokens were not computed after all."""
        self.ledger.drop(sequence, keep=length)
        resident = self._resident[sequence]
        del resident.tokens[length:]
        del resident.runs[bisect_left(resident.runs, length) :]
        self._forget_names(sequence, resident.names[length // BLOCK :])
        del resident.names[length // BLOCK :]

    def retain(self, sequence: int) -> None:
        """The sequence ended; keep its cells for a next turn."""
        self._retained[sequence] = None

    def release(self, sequence: int) -> None:
        """The sequence is gone, its cells and its id are free."""
        resident = self._resident.pop(sequence)
        self._forget_names(sequence, resident.names)
        self._retained.pop(sequence, None)
        if sequence == self._last:
            self._last = -1
        self.ledger.drop(sequence)
        self._ids.append(sequence)

    def _forget_names(self, sequence: int, names: list[bytes]) -> None:
        for name in names:
            holders = self._holders[name]
            holders.discard(sequence)
            if not holders:
                del self._holders[name]

    # Who must go.

    def victim(self) -> int | None:
        """The retained sequence that was used least recently."""
        return next(iter(self._retained), None)

    def check_integrity(self) -> None:
        """Raise `AssertionError` unless every book agrees with every other."""
        self.ledger.check_integrity()
        for sequence, resident in self._resident.items():
            assert self.ledger.held(sequence) == len(resident.tokens), "cells and tokens differ"
            assert resident.names == list(block_names(resident.root, resident.tokens)), "names"
            assert all(sequence in self._holders[name] for name in resident.names), "holders"
        for name, holders in self._holders.items():
            assert holders, "a name without a holder"
            assert all(name in self._resident[s].names for s in holders), "a holder without a name"
        assert set(self._retained) <= set(self._resident), "a retained sequence is not resident"
        assert not set(self._ids) & set(self._resident), "an id is free and in use"
