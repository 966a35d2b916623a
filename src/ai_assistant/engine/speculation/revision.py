"""A text that is said again with changes: where it goes on behind one, and changes made before.

The longest match (`repeats.py`) is lost at a changed word and found again two tokens behind it at
the soonest, as a short match that deserves little trust. Whoever edits a text goes on beside the
place that they left: one token later if a token was replaced, at it if one was put in, a few later
if some were left out. Until a token says which, the first is assumed; each later token is looked
for near the place (what `diff` does, a token at a time and without looking ahead).

A word that was replaced once is expected to be replaced again, until it is left as it is: a name is
changed in the whole of a text.
"""

from array import array
from typing import NamedTuple

COPYING = 6
"""A text that agreed with an earlier one for so many tokens is being said again."""
AHEAD = 8
"""Tokens behind the place at which the text is looked for after a change."""
PATIENCE = 6
"""Tokens of a change at most; after more the text is another one."""
SURE = 2
"""So many tokens behind a change must agree before it is believed."""


class Change(NamedTuple):
    """These tokens were replaced by those."""

    old: "array[int]"
    new: "array[int]"


class Revision:
    """One place in a growing list of tokens where what is said now goes on."""

    __slots__ = ("_change", "_changes", "_lost", "_missed", "_since", "_tokens", "_within",
                 "place", "run")  # fmt: skip

    def __init__(self, tokens: "array[int]") -> None:
        self._tokens = tokens
        self._changes: dict[int, Change] = {}
        """By the first of the old tokens: the latest change of it."""
        self._change: Change | None = None
        """A known one that is being said, `_within` tokens of it so far."""
        self._within = 0
        self._lost = self._since = self._missed = 0
        """An unknown one: the position where it began in the old text and in the new one, and its
        tokens so far."""
        self.place = 0
        """The position in the old text where the new one goes on; 0 for none."""
        self.run = 0
        """Tokens that were as expected since the latest change that was not."""

    def follow(self, place: int, run: int) -> None:
        """The text agrees with what is before `place` for `run` tokens."""
        self.place, self.run = place, run
        self._change = None
        self._since = 0

    @property
    def expected(self) -> int:
        """The next token, if there is a place."""
        if self._change:
            return self._change.new[self._within]
        change = self._known(self.place)
        return change.new[0] if change else self._tokens[self.place]

    def advance(self, position: int) -> None:
        """Follow the token at `position`, the newest one."""
        token = self._tokens[position]
        if self._change is None:
            self._change = self._known(self.place)
            self._within = 0
        if self._change and self._change.new[self._within] == token:
            self._say(self._change)
        elif self._change and self._within:
            self._lose(self.place, position - self._within)
        elif self._tokens[self.place] == token:
            self._changes.pop(token, None)
            self._change = None
            self._agree(self.place, position, self.run + 1)
        elif self.run:
            self._lose(self.place, position)
        else:
            self._look(token, position)

    def _known(self, place: int) -> Change | None:
        change = self._changes.get(self._tokens[place])
        old = change and self._tokens[place : place + len(change.old)]
        return change if change and old == change.old else None

    def _say(self, change: Change) -> None:
        """One more token of a change that was made before."""
        self._within += 1
        self.run += 1
        if self._within == len(change.new):
            self.place += len(change.old)
            self._change = None

    def _lose(self, place: int, since: int) -> None:
        """Another token was said: assume that it replaces the one at `place`."""
        self._change = None
        self._lost, self._since = place, since
        self._missed = 1
        self.place = place + 1
        self.run = 0

    def _look(self, token: int, position: int) -> None:
        """The change goes on, or the text at another place near by."""
        self._missed += 1
        self._change = None
        if self._missed > PATIENCE:
            self.place = 0
            return
        for place in range(self._lost, min(self._lost + AHEAD, position)):
            if self._tokens[place] == token:
                return self._agree(place, position, 1)

    def _agree(self, place: int, position: int, run: int) -> None:
        self.place, self.run = place + 1, run
        if self._since and run >= SURE:
            old = self._tokens[self._lost : self.place - run]
            new = self._tokens[self._since : position + 1 - run]
            if old and new:
                self._changes[old[0]] = Change(old, new)
            self._since = 0

    def following(self, count: int) -> "array[int]":
        """At most `count` tokens, with the changes that were made before."""
        tokens, place = self._tokens, self.place
        found = array("i")
        if self._change:
            found += self._change.new[self._within :]
            place += len(self._change.old)
        while len(found) < count and place < len(tokens):
            change = self._known(place)
            if change:
                found += change.new
                place += len(change.old)
            else:
                found.append(tokens[place])
                place += 1
        return found[:count]
