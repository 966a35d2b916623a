"""What an engine leaves alone for the sake of power and heat: threads, slots, guesses, time."""

from ai_assistant.engine.batcher import Batcher
from ai_assistant.engine.guesses import Guesses
from ai_assistant.engine.tempo import Tempo
from ai_assistant.protocol.power import Restraint

LEAST = 0.1
"""Share of the time that is left for work at least."""
LONGEST = 2.0
"""Seconds of one rest: after a long step a client still gets its next token soon."""


class Restrained:
    """The order that holds now. The defaults cost a comparison a step."""

    def __init__(self) -> None:
        self.restraint = Restraint()

    def use(self, restraint: Restraint, tempo: Tempo, batcher: Batcher, guesses: Guesses) -> None:
        """From now on."""
        self.restraint = restraint
        self.apply(tempo, batcher, guesses)

    def apply(self, tempo: Tempo, batcher: Batcher, guesses: Guesses) -> None:
        """The same to other parts: the engine goes on by another plan."""
        tempo.allow(self.restraint.threads)
        batcher.allow(self.restraint.slots)
        guesses.allow(self.restraint.speculation)

    @property
    def rests(self) -> bool:
        """Whether there are pauses at all."""
        return self.restraint.work < 1.0

    def rest_after(self, seconds: float) -> float:
        """How long to rest after work of so many seconds."""
        share = max(self.restraint.work, LEAST)
        return min(LONGEST, seconds * (1 / share - 1))
