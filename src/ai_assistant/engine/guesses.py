"""Guesses of the streams' next tokens, added to a step where they pay (speculative decoding)."""

from collections import Counter
from collections.abc import Callable

from ai_assistant.engine.compose import Pace, Part
from ai_assistant.engine.drafts.drafting import Drafting
from ai_assistant.engine.kernels import Model
from ai_assistant.engine.sequence import Sequence
from ai_assistant.engine.speculation.drafter import Guess, Source
from ai_assistant.engine.speculation.policy import MODEL, MOST, allocate
from ai_assistant.engine.speculation.tenants import Tenants

STEP_GUESSES = 64
"""Guessed tokens in one step, of all sequences."""
GROUP = 4
"""Processors' kernels compute so many tokens together, and a group begun takes as long as a whole
one (5 tokens 70 ms, 8 tokens 75; 9 tokens 93, 12 tokens 96): a line through times hides that."""
LARGEST = 64
"""Steps with more tokens than this have no room for guesses: they are bound by arithmetic."""


class Guesses:
    """Guesses for the sequences of one engine; none where the model cannot take tokens back."""

    def __init__(
        self,
        model: Model,
        pace: Pace,
        *,
        wanted: bool,
        threads: Callable[[], int] = lambda: 1,
    ) -> None:
        """`threads`: how many compute single tokens now."""
        self._tenants = Tenants()
        self._pace = pace
        self._on = self._planned = wanted and model.shares_prefixes
        self._threads = threads
        self.drafting: Drafting | None = None
        """A draft model, where there is one."""
        self.drafted_by: Counter[Source] = Counter()
        self.accepted_by: Counter[Source] = Counter()

    def follow(self, other: "Guesses") -> None:
        """Go on with what another plan of the same engine has learned of its tenants."""
        self._tenants = other._tenants
        self.drafted_by, self.accepted_by = other.drafted_by, other.accepted_by
        self.drafting = other.drafting

    def allow(self, wanted: bool) -> None:
        """Guess as planned, or not at all."""
        self._on = wanted and self._planned

    def drop_model(self) -> None:
        """Give the draft model's memory back; it comes with the next load."""
        if self.drafting:
            self.drafting.drop()

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
        streams = sum(1 for part in parts if part.count == 1 and part.sequence.remaining == 1)
        if self.drafting and 0 < streams == len(parts):
            self._ask_model(parts, found, room)
        if not found:
            return parts
        granted = allocate(
            [guess.chances for guess in found.values()],
            streams - len(found),
            self._seconds,
            room,
            prompt=count - streams,
        )
        self._charge(found, granted, count)
        return _with_guesses(parts, found, granted)

    def _ask_model(self, parts: list[Part], found: dict[int, Guess], room: int) -> None:
        """Have the draft model guess where it is expected to be right more often."""
        assert self.drafting
        wanted = [
            (index, part.sequence, drafter)
            for index, part in enumerate(parts)
            if (drafter := part.sequence.drafter) and part.sequence.generated
            if index not in found or _better(drafter.acceptance.expected[MODEL], found[index])
        ]
        asked = self.drafting.guess(wanted, len(parts), self._seconds, room, self._threads())
        for index, guess in asked.items():
            before, drafter = found.get(index), parts[index].sequence.drafter
            if before is None or guess.chances[0] >= before.chances[0]:
                found[index] = guess
            elif drafter:
                drafter.source = before.source

    def _charge(self, found: dict[int, Guess], granted: list[int], count: int) -> None:
        """What the draft model's tokens make the step longer is on its account."""
        guesses = zip(found.values(), granted, strict=True)
        modelled = sum(length for guess, length in guesses if guess.source == "model")
        if modelled and self.drafting:
            self.drafting.granted(modelled, count + sum(granted), self._seconds)

    def _guess(self, sequence: Sequence, most: int) -> Guess:
        if sequence.drafter is None:
            sequence.drafter = self._tenants.drafter(sequence.request.tenant, sequence.tokens)
        most = min(most, sequence.limit - len(sequence.tokens) - 1)
        if sequence.sampler.mask and (forced := sequence.sampler.mask.forced()):
            return sequence.drafter.forced(forced[:most])
        return sequence.drafter.candidates(most)

    def _seconds(self, tokens: int) -> float:
        whole = tokens if tokens <= GROUP else -(-tokens // GROUP) * GROUP
        return self._pace.seconds(whole) or 1.0

    @property
    def drafted(self) -> int:
        """Guesses that were verified."""
        return self.drafted_by.total()

    @property
    def accepted(self) -> int:
        """Of these: right."""
        return self.accepted_by.total()

    @property
    def draft_seconds(self) -> float:
        """Spent on the draft model in all."""
        return self.drafting.seconds if self.drafting else 0.0

    def verified(self, sequence: Sequence, drafted: int, accepted: int) -> None:
        """So many guesses were computed, the first `accepted` of them right."""
        if sequence.drafter is None:
            return
        sequence.drafter.observe(drafted, accepted)
        source = sequence.drafter.source
        self.drafted_by[source] += drafted
        self.accepted_by[source] += accepted
        if source == "model" and self.drafting:
            self.drafting.accepted(accepted)

    def stepped(self, seconds: float) -> None:
        """The step took so long in the kernels."""
        if self.drafting:
            self.drafting.stepped(seconds)

    def finish(self, sequence: Sequence) -> None:
        """Its answer is complete."""
        if sequence.drafter:
            sequence.drafter.finish()
            sequence.drafter = None
        if self.drafting:
            self.drafting.finish(sequence)


def _better(chance: float, guess: Guess) -> bool:
    """Whether a draft model is worth asking although there is a guess for nothing."""
    return guess.source != "grammar" and chance > guess.chances[0]


def _with_guesses(parts: list[Part], found: dict[int, Guess], granted: list[int]) -> list[Part]:
    result = list(parts)
    for (index, guess), length in zip(found.items(), granted, strict=True):
        if length:
            result[index] = Part(parts[index].sequence, 1, tuple(guess.tokens[:length]))
    return result
