"""Nobody starves: a lower class saves up a share of the time in which it was passed over."""

from collections.abc import Collection

from ai_assistant.protocol.requests import Priority

TURN = 0.1
"""Seconds of credit that are worth a turn."""
MOST = 2.0
"""Seconds of credit that can be saved."""


class Floor:
    """`share` of the time for each class that has work and is not served."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._credit = dict.fromkeys(Priority, 0.0)

    def due(self, present: Collection[Priority]) -> Priority | None:
        """The class whose turn it is although a higher one has work."""
        first = min(present, default=None)
        for priority in present:
            if priority != first and self._credit[priority] >= TURN:
                return priority
        return None

    def clear(self) -> None:
        """Only one class wants anything: nobody is passed over."""
        self._credit = dict.fromkeys(Priority, 0.0)

    def spent(
        self, seconds: float, present: Collection[Priority], served: Collection[Priority]
    ) -> None:
        """A step has passed; `served` had tokens in it."""
        for priority in Priority:
            if priority not in present:
                self._credit[priority] = 0.0
            elif priority not in served:
                credit = self._credit[priority] + self._share * seconds
                self._credit[priority] = min(MOST, credit)
            elif self._credit[priority]:
                self._credit[priority] = max(0.0, self._credit[priority] - seconds)
