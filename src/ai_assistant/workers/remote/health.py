"""Whether a worker may be tried: a pure state machine over what happened to it.

Failures that are the worker's make it rest, longer each time; after the rest one request tries it,
and its fate decides. A refused key is not tried again until the settings change.
"""

from ai_assistant.protocol.errors import (
    AssistantError,
    MalformedAnswer,
    ProviderBusy,
    ProviderError,
    ProviderKeyRefused,
    ProviderModelMissing,
    ProviderOutOfCredit,
    ProviderOverloaded,
    ProviderRateLimited,
    ProviderUnreachable,
)
from ai_assistant.protocol.offers import WorkerState

_FIRST_REST = 2.0
_LONGEST_REST = 300.0
_LONG = 3600.0
"""Seconds for what a moment does not mend: an empty account, a model that is not there."""
_AT_ONCE = (ProviderUnreachable, ProviderRateLimited, ProviderOverloaded, MalformedAnswer)
"""One of these is enough; of the others, such as a broken stream, it takes two in a row."""


def is_fault(error: BaseException) -> bool:
    """Whether an error says something about the worker and not about the request or about us."""
    return isinstance(error, ProviderError) and not isinstance(error, ProviderBusy)


class Health:
    """One worker's. All times are seconds of a clock that goes forward."""

    def __init__(self) -> None:
        self._failures = 0
        self._rests = 0
        self._rest_ends = 0.0
        self._probe = False
        self._refused = False

    def state(self, now: float) -> WorkerState:
        """What may be done with it now."""
        if self._refused:
            return "refused"
        if not self._rests:
            return "ok"
        return "cooling" if now < self._rest_ends or self._probe else "probing"

    def again_in(self, now: float) -> float:
        """Seconds until it may be tried; 0: now."""
        return max(0.0, self._rest_ends - now) if self._rests else 0.0

    def begin(self, now: float) -> None:
        """A request is given to it."""
        if self.state(now) == "probing":
            self._probe = True

    def succeed(self, now: float) -> None:
        """It did what it should. One that began before the rest does not end it."""
        self._failures = 0
        self._refused = False
        if now >= self._rest_ends:
            self._rests = 0
            self._probe = False

    def abandon(self) -> None:
        """A request ended without saying anything about the worker."""
        self._probe = False

    def fail(self, error: AssistantError, now: float) -> None:
        """A request failed through its fault."""
        self._probe = False
        self._failures += 1
        if isinstance(error, ProviderKeyRefused):
            self._refused = True
        elif isinstance(error, ProviderOutOfCredit | ProviderModelMissing):
            self._rest(_LONG, now)
        elif self._rests or isinstance(error, _AT_ONCE) or self._failures >= 2:
            grown = min(_FIRST_REST * 2.0**self._rests, _LONGEST_REST)
            self._rest(grown if error.retry_after is None else error.retry_after, now)

    def _rest(self, seconds: float, now: float) -> None:
        if now >= self._rest_ends:  # else it rests already: many requests may fail at once
            self._rests = min(self._rests + 1, 16)
            self._rest_ends = now
        self._rest_ends = max(self._rest_ends, min(self._rest_ends, now) + seconds)
