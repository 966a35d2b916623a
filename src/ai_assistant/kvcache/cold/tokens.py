"""The tokens of blocks that were looked at lately."""

from array import array
from collections import OrderedDict

_MAX_TOKENS = 1 << 20


class TokenCache:
    """Up to a million tokens; those looked at least recently go first."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, array[int]] = OrderedDict()
        self._count = 0

    def get(self, name: bytes) -> "array[int] | None":
        """The tokens of a block, if they are here."""
        tokens = self._known.get(name)
        if tokens is not None:
            self._known.move_to_end(name)
        return tokens

    def put(self, name: bytes, tokens: "array[int]") -> None:
        """Keep them."""
        self.drop(name)
        self._known[name] = tokens
        self._count += len(tokens)
        while self._count > _MAX_TOKENS:
            self._count -= len(self._known.popitem(last=False)[1])

    def drop(self, name: bytes) -> None:
        """Forget them."""
        self._count -= len(self._known.pop(name, ()))
