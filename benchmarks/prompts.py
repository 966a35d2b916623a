"""Text that no cache has seen: random words, one token each or little more in any vocabulary."""

import random

from benchmarks.vocabularies import WORDS


class Prompts:
    """The same seed gives the same text, so both servers of a pair are asked the same."""

    def __init__(self, *seed: object) -> None:
        self._random = random.Random(repr(seed))

    def words(self, count: int) -> str:
        """`count` words."""
        return " ".join(self._random.choices(WORDS, k=count))

    def question(self) -> str:
        """A few words, like what a person asks."""
        return f"{self.words(12)}?"

    def conversation(self, system: str) -> str:
        """A question after a system prompt."""
        return f"{system}\n\nUser: {self.question()}\nAssistant:"
