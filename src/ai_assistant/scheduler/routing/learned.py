"""How fast a worker is, from the answers that it gave. Pure: figures in, figures out."""

import msgspec

from ai_assistant.scheduler.routing.facts import Pace

_FADE = 0.95
"""Weight of everything before, at each new answer."""
_NEWEST = 0.2
_PROMPTS_DIFFER = 32.0
"""Tokens, standard deviation: below it prompts are of one length."""
_CROWDS_DIFFER = 0.3
"""The same of how many answers ran at once."""
_STEEPEST = 1e3
_SHORTEST = 1e-4
"""Seconds; what is shorter is no measure for anything."""
_MOST_TIMES = 100.0
"""As long as alone; what is more has other reasons than the crowd."""

Sums = tuple[float, float, float, float, float]
"""Of ones, x, y, x squared, x times y."""


class Line:
    """A least-squares line that rises or is level; newer points weigh more."""

    def __init__(self, differ: float) -> None:
        """`differ`: standard deviation below which all `x` are the same."""
        self._differ = differ
        self.sums: Sums = (0.0, 0.0, 0.0, 0.0, 0.0)

    def note(self, x: float, y: float) -> None:
        """A point."""
        count, sum_x, sum_y, sum_xx, sum_xy = (_FADE * value for value in self.sums)
        self.sums = (count + 1, sum_x + x, sum_y + y, sum_xx + x * x, sum_xy + x * y)

    def fit(self) -> tuple[float, float | None] | None:
        """Height at 0 and slope; None: nothing is known, a slope of None: only one `x` is."""
        count, sum_x, sum_y, sum_xx, sum_xy = self.sums
        if count <= 0:
            return None
        mean_x, mean_y = sum_x / count, sum_y / count
        variance = sum_xx / count - mean_x * mean_x
        if variance < self._differ**2:
            return mean_y, None
        steepest = mean_y / mean_x if mean_x > 0 else _STEEPEST
        slope = min(max((sum_xy / count - mean_x * mean_y) / variance, 0.0), steepest)
        return mean_y - slope * mean_x, slope

    def through_origin(self) -> float:
        """The slope of a line that begins at 0; not below 0."""
        return max(self.sums[4] / self.sums[3], 0.0) if self.sums[3] > 0 else 0.0

    def slope_from(self, height: float) -> float:
        """The slope of a line that begins there; not below 0."""
        _, sum_x, _, sum_xx, sum_xy = self.sums
        return max((sum_xy - height * sum_x) / sum_xx, 0.0) if sum_xx > 0 else 0.0

    @property
    def middle(self) -> float:
        """The mean `x`."""
        return self.sums[1] / self.sums[0] if self.sums[0] else 0.0


class Learned:
    """One worker's: first tokens over the prompt's length, tokens over the crowd."""

    def __init__(self, *, reading: bool) -> None:
        """`reading`: where all prompts are of one length, all of the time was for them."""
        self._reading = reading
        self._first = Line(_PROMPTS_DIFFER)
        self._crowded = Line(_CROWDS_DIFFER)
        """How many times as long a first token took beside others."""
        self._tpot = Line(_CROWDS_DIFFER)
        self._tpot_alone: float | None = None
        """With nobody else there; it is not what a line through crowds says of no crowd."""
        self._load: float | None = None

    def note_first(self, computed: int, seconds: float, crowd: int = 0) -> None:
        """A prompt with so many tokens to compute gave its first token after so long, beside so
        many others."""
        alone = self._alone()
        expected = alone[0] + (alone[1] or 0.0) * computed if alone else 0.0
        if crowd and expected > _SHORTEST:
            self._crowded.note(crowd, min(seconds / expected, _MOST_TIMES) - 1)
        else:
            self._first.note(computed, seconds)

    def note_pace(self, seconds: float, crowd: int) -> None:
        """Beside so many others an answer took so long for each token after the first."""
        self._tpot.note(crowd, seconds)
        if not crowd:
            old = seconds if self._tpot_alone is None else self._tpot_alone
            self._tpot_alone = old + _NEWEST * (seconds - old)

    def note_load(self, seconds: float) -> None:
        """Loading took so long."""
        old = seconds if self._load is None else self._load
        self._load = old + _NEWEST * (seconds - old)

    def pace(self, crowd: int) -> Pace:
        """What is known, for one more answer beside so many."""
        tpot = self._tpot_beside(crowd)
        first = self._alone()
        if first is None:
            return Pace(tpot=tpot, load=self._load)
        height, slope = first
        times = 1 + self._crowded.through_origin() * crowd
        return Pace(
            first=height * times,
            per_prompt_token=None if slope is None else slope * times,
            tpot=tpot,
            load=self._load,
        )

    def _tpot_beside(self, crowd: int) -> float | None:
        if self._tpot_alone is not None:
            return self._tpot_alone + self._tpot.slope_from(self._tpot_alone) * crowd
        found = self._tpot.fit()
        return found and found[0] + (found[1] or 0.0) * crowd

    def _alone(self) -> tuple[float, float | None] | None:
        """Seconds of a first token, and for each token that is read, with nobody else there."""
        found = self._first.fit()
        if found and found[1] is None and self._reading and self._first.middle > _PROMPTS_DIFFER:
            return 0.0, found[0] / self._first.middle
        return found

    # Kept over a restart.

    def state(self) -> "LearnedState":
        """Everything, as data."""
        return LearnedState(
            first=self._first.sums,
            crowded=self._crowded.sums,
            tpot=self._tpot.sums,
            tpot_alone=self._tpot_alone,
            load=self._load,
        )

    def restore(self, state: "LearnedState") -> None:
        """The opposite; figures that cannot be are left out."""
        for line, sums in (
            (self._first, state.first),
            (self._crowded, state.crowded),
            (self._tpot, state.tpot),
        ):
            if all(abs(value) < 1e15 for value in sums) and sums[0] >= 0:
                line.sums = sums
        if state.tpot_alone is not None and 0 <= state.tpot_alone < 1e6:
            self._tpot_alone = state.tpot_alone
        if state.load is not None and 0 < state.load < 1e6:
            self._load = state.load


class LearnedState(msgspec.Struct, frozen=True, kw_only=True):
    """What was learned, as data."""

    first: Sums
    crowded: Sums
    tpot: Sums
    tpot_alone: float | None = None
    load: float | None = None
