"""How fast a batch gets on, and whether that is fast enough."""

_ENOUGH = 3
"""Lines after which the pace is believed."""
_SAFETY = 1.25
_LAST_SHARE = 0.1


class Pace:
    """Lines done in this go. Times are seconds since 1970."""

    def __init__(self) -> None:
        self._began = 0.0
        self._total = 0
        self._done = 0
        self._last = 0.0

    def begin(self, now: float, lines: int) -> None:
        """So many lines are to be done."""
        self._began = self._last = now
        self._total = lines

    def note(self, now: float) -> None:
        """One more is done."""
        self._done += 1
        self._last = now

    def is_late(self, now: float, deadline: float) -> bool:
        """Whether the rest will hardly be done in time.

        By the pace so far; without one, when only a tenth of the time is left.
        """
        if self._done < _ENOUGH:
            return deadline - now < _LAST_SHARE * (deadline - self._began)
        each = (self._last - self._began) / self._done
        return now + (self._total - self._done) * each * _SAFETY > deadline
