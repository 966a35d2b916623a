"""A bucket that fills evenly: so much a minute, and never more than a minute's worth.

A request may take more than is in it, where nobody knew before how much it would take (tokens of
an answer). The bucket then owes, and the next one waits until that is paid.
"""


class Bucket:
    """Its state is how full it was and when; how large it is may change at any time."""

    def __init__(self, level: float, at: float) -> None:
        """`at`: seconds of a clock that never goes back."""
        self._level = level
        self._at = at

    @property
    def state(self) -> tuple[float, float]:
        """How full it was and when: what makes the same bucket again."""
        return self._level, self._at

    def level(self, per_minute: float, now: float) -> float:
        """What is in it; below 0 is owed."""
        filled = self._level + (now - self._at) * per_minute / 60
        return min(filled, _size(per_minute))

    def wait(self, per_minute: float, now: float) -> float:
        """Seconds until one more may be taken; 0: now."""
        missing = 1 - self.level(per_minute, now)
        return max(missing, 0.0) * 60 / per_minute

    def take(self, amount: float, per_minute: float, now: float) -> None:
        """Take it, whether it is there or not; a negative amount is put back."""
        self._level = min(self.level(per_minute, now) - amount, _size(per_minute))
        self._at = now


def _size(per_minute: float) -> float:
    """Room for one, also where there is less than one a minute."""
    return max(per_minute, 1.0)


class FullBucket(Bucket):
    """One that nobody took from yet, however large it is."""

    def __init__(self) -> None:
        super().__init__(float("inf"), 0.0)
