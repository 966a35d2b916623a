"""The warm tier: ended sequences in RAM, out of the context, where every cell slows every decode.

Whole sequences as the kernels saved them. Which tokens they are is known here; what the bytes
mean is not.
"""

from array import array
from collections import OrderedDict
from typing import Any

from numpy import uint8
from numpy.typing import NDArray

from ai_assistant.kvcache.cache import common_prefix

State = NDArray[uint8]
MAX_SEQUENCES = 64
"""Each costs some microseconds of every search."""


class WarmSequence:
    """The tokens of a saved sequence and its state."""

    __slots__ = ("salt", "state", "tokens")

    def __init__(self, tokens: "array[int]", state: State, salt: bytes) -> None:
        self.tokens = tokens
        self.state = state
        self.salt = salt


class WarmStore:
    """Saved sequences up to `budget` bytes; the least recently used one goes first."""

    def __init__(self, budget: int, *, shares_prefixes: bool) -> None:
        self._budget = budget
        self._shares_prefixes = shares_prefixes
        self._kept: OrderedDict[int, WarmSequence] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, tokens: "array[int]", state: State, salt: bytes = b"") -> None:
        """Keep a sequence; where prefixes can be shared it replaces its own beginnings."""
        if state.nbytes > self._budget:
            return
        if self._shares_prefixes:
            for key, old in list(self._kept.items()):
                if old.salt == salt and common_prefix(old.tokens, tokens, 0) == len(old.tokens):
                    self._drop(key)
        while len(self._kept) >= MAX_SEQUENCES or self.bytes + state.nbytes > self._budget:
            self._drop(next(iter(self._kept)))
        kept = WarmSequence(tokens, state, salt)
        self._kept[id(kept)] = kept
        self.bytes += state.nbytes

    def match(self, tokens: "array[int]", salt: bytes = b"") -> tuple[WarmSequence | None, int]:
        """The one that begins most like `tokens` and how far, at most all but the last token."""
        best, longest = None, 0
        for kept in self._kept.values():
            if kept.salt != salt:
                continue
            length = min(common_prefix(kept.tokens, tokens, 0), len(tokens) - 1)
            if not self._shares_prefixes and length < len(kept.tokens):
                continue
            if length > longest:
                best, longest = kept, length
        return best, longest

    def touch(self, kept: WarmSequence) -> None:
        """It is useful: it goes last, if it is still here."""
        if id(kept) in self._kept:
            self._kept.move_to_end(id(kept))

    def _drop(self, key: int) -> None:
        self.bytes -= self._kept.pop(key).state.nbytes

    def check_integrity(self) -> None:
        """Raise `AssertionError` unless the count of bytes is right and within the budget."""
        sizes: list[Any] = [kept.state.nbytes for kept in self._kept.values()]
        assert self.bytes == sum(sizes), "the count of bytes is wrong"
        assert self.bytes <= self._budget, "over the budget"
