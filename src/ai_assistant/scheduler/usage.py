"""What is asked of a model lately: how many turns, how long, how many at once."""

from collections import deque
from typing import NamedTuple

from ai_assistant.protocol.relayout import Usage

WINDOW = 300.0
"""Seconds that count."""
LEAST = 60.0
"""Seconds that a rate is taken over at least: two turns in a row are no flood."""
MOST = 512
"""Turns that are remembered at most: the latest."""


class Turn(NamedTuple):
    """An answer that has ended."""

    at: float
    prompt: int
    cached: int
    answer: int
    streams: int
    """That were being written then, itself included."""


class Turns:
    """The turns of a window. Times by any steady clock, in seconds."""

    def __init__(self) -> None:
        self._turns: deque[Turn] = deque(maxlen=MOST)
        self._began = 0.0

    def note(self, turn: Turn) -> None:
        """An answer has ended."""
        self._began = self._began or turn.at
        self._turns.append(turn)

    def usage(self, now: float, running: int) -> Usage | None:
        """`running`: answers that are being written; None where nothing was asked lately."""
        while self._turns and now - self._turns[0].at > WINDOW:
            self._turns.popleft()
        count = len(self._turns)
        if not count:
            return None
        seconds = min(max(now - self._began, LEAST), WINDOW)
        if count == MOST:
            seconds = max(now - self._turns[0].at, 1.0)
        return Usage(
            turns=(count + running) / seconds,
            prompt=sum(one.prompt for one in self._turns) / count,
            known=sum(min(one.cached, one.prompt) for one in self._turns) / count,
            answer=sum(one.answer for one in self._turns) / count,
            streams=max(sum(one.streams for one in self._turns) / count, running, 1),
        )
