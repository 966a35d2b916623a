"""What followed a few tokens in a tenant's past answers: repeated forms and boilerplate.

A map from `CONTEXT` tokens to the next one, followed token by token, as llama.cpp's `ngram-mod`
(its pull request 19164) and the global tree of SuffixDecoding (arXiv 2411.04975). Its keys are the
tokens themselves and not a hash of them, so that a collision cannot happen.
"""

from array import array
from collections import OrderedDict

CONTEXT = 4
"""Tokens that a guess rests on. Fewer guess more often and worse."""
ENTRIES = 32_768
"""Known continuations of one tenant, about 225 bytes each."""
LATEST = 4_096
"""Tokens of one answer that are remembered: bounds the pause that remembering takes."""
_KEY = CONTEXT * array("i").itemsize


class History:
    """One tenant's continuations; the least recently used one makes room. For one thread."""

    __slots__ = ("_entries", "_next")

    def __init__(self, entries: int = ENTRIES) -> None:
        self._entries = entries
        self._next: OrderedDict[bytes, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._next)

    def add(self, tokens: "array[int]") -> None:
        """Remember an answer, its last tokens where it is long; newer knowledge replaces older."""
        tokens = tokens[-LATEST:]
        known = self._next
        raw = tokens.tobytes()
        for place, token in enumerate(tokens[CONTEXT:]):
            start = place * tokens.itemsize
            key = raw[start : start + _KEY]
            known[key] = token
            known.move_to_end(key)
        while len(known) > self._entries:
            known.popitem(last=False)

    def next(self, context: "array[int]") -> int | None:
        """The token that followed these `CONTEXT` tokens the last time."""
        key = context.tobytes()
        token = self._next.get(key)
        if token is not None:
            self._next.move_to_end(key)
        return token

    def following(self, context: "array[int]", count: int) -> "array[int]":
        """At most `count` tokens: what followed the context, and then what followed that."""
        text = context[:]
        for start in range(count):
            token = self.next(text[start:])
            if token is None:
                break
            text.append(token)
        return text[CONTEXT:]
