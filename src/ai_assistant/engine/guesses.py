"""Guesses of the streams' next tokens, added to a step where they pay (speculative decoding)."""

from ai_assistant.engine.compose import Pace, Part
from ai_assistant.engine.kernels import Model
from ai_assistant.engine.sequence import Sequence
from ai_assistant.engine.speculation.drafter import Guess
from ai_assistant.engine.speculation.policy import MOST, allocate
from ai_assistant.engine.speculation.tenants import Tenants

STEP_GUESSES = 64
"""Guessed tokens in one step, of all sequences."""
LARGEST = 64
"""Steps with more tokens than this have no room for guesses: they are bound by arithmetic."""


class Guesses:
    """Guesses for the sequences of one engine; none where the model cannot take tokens back."""

    def __init__(self, model: Model, pace: Pace, *, wanted: bool) -> None:
        self._tenants = Tenants()
        self._pace = pace
        self._on = self._planned = wanted and model.shares_prefixes
        self.drafted = 0
        self.accepted = 0

    def follow(self, other: "Guesses") -> None:
        """Go on with what another plan of the same engine has learned of its tenants."""
        self._tenants = other._tenants
        self.drafted, self.accepted = other.drafted, other.accepted

    def allow(self, wanted: bool) -> None:
        """Guess as planned, or not at all."""
        self._on = wanted and self._planned

    def add(self, parts: list[Part], room: int) -> list[Part]:
        """The same parts with guesses behind the streams; `room` cells are free for them."""
        if not self._on:
            return parts
        count = sum(part.count for part in parts)
        room = min(room, STEP_GUESSES, LARGEST - count)
        if room <= 0:
            return parts
        found: dict[int, Guess] = {}
        for index, part in enumerate(parts):
            sequence = part.sequence
            if part.count == 1 and sequence.remaining == 1 and sequence.generated:
                guess = self._guess(sequence, min(room, MOST))
                if guess.tokens:
                    found[index] = guess
        if not found:
            return parts
        streams = sum(1 for part in parts if part.count == 1 and part.sequence.remaining == 1)
        granted = allocate(
            [guess.chances for guess in found.values()],
            streams - len(found),
            self._seconds,
            room,
            prompt=count - streams,
        )
        return _with_guesses(parts, found, granted)

    def _guess(self, sequence: Sequence, most: int) -> Guess:
        if sequence.drafter is None:
            sequence.drafter = self._tenants.drafter(sequence.request.tenant, sequence.tokens)
        most = min(most, sequence.limit - len(sequence.tokens) - 1)
        if sequence.sampler.mask and (forced := sequence.sampler.mask.forced()):
            return sequence.drafter.forced(forced[:most])
        return sequence.drafter.candidates(most)

    def _seconds(self, tokens: int) -> float:
        return self._pace.seconds(tokens) or 1.0

    def verified(self, sequence: Sequence, drafted: int, accepted: int) -> None:
        """So many guesses were computed, the first `accepted` of them right."""
        self.drafted += drafted
        self.accepted += accepted
        if sequence.drafter:
            sequence.drafter.observe(drafted, accepted)

    def finish(self, sequence: Sequence) -> None:
        """Its answer is complete."""
        if sequence.drafter:
            sequence.drafter.finish()
            sequence.drafter = None


def _with_guesses(parts: list[Part], found: dict[int, Guess], granted: list[int]) -> list[Part]:
    result = list(parts)
    for (index, guess), length in zip(found.items(), granted, strict=True):
        if length:
            result[index] = Part(parts[index].sequence, 1, tuple(guess.tokens[:length]))
    return result
