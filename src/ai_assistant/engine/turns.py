"""Short prompts go first, and long ones are not forgotten over them.

A question in a chat that is known costs some tokens; whoever asks it should not wait for a piece of
somebody's document in the same step. Shortest first gives the least waiting in all; so that it is
no waiting for ever, a long prompt gets a token for two of the short ones.
"""

from collections.abc import Sequence as Items

from ai_assistant.engine.compose import CROWD, SHORT, Part
from ai_assistant.engine.sequence import Sequence

SHARE = 2
"""Tokens of short prompts for one of a long one that waits."""


class Turns:
    """What the long prompts have coming."""

    def __init__(self) -> None:
        self._owed = 0

    @property
    def short_first(self) -> bool:
        """Whether the next step has time for short ones alone."""
        return self._owed < SHARE * CROWD

    def passed(self, parts: Items[Part], running: Items[Sequence]) -> None:
        """A step had these parts. Called before they end, with what they had left to read."""
        if not any(_long(sequence) for sequence in running):
            self._owed = 0
            return
        short = sum(p.count for p in parts if p.count > 1 and not _long(p.sequence))
        long = sum(p.count for p in parts if _long(p.sequence))
        self._owed = max(0, self._owed + short - SHARE * long)


def _long(sequence: Sequence) -> bool:
    return sequence.restoring is None and sequence.remaining > SHORT
