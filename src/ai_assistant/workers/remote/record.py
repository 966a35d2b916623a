"""What a worker's real traffic shows of it. Pure: times come from outside."""

import msgspec

from ai_assistant.protocol.errors import AssistantError
from ai_assistant.protocol.offers import WorkerFacts
from ai_assistant.workers.remote.health import Health, is_fault
from ai_assistant.workers.remote.sketch import Sketch, SketchState

HALF_LIFE = 3600.0
"""Seconds after which what was seen counts half."""
_ERRORS_HALF_LIFE = 20
"""Requests after which an error counts half."""


class Record:
    """One worker's. `now` is of a clock that goes forward while the node runs."""

    def __init__(self) -> None:
        self.health = Health()
        self._ttft = Sketch(HALF_LIFE)
        self._tpot = Sketch(HALF_LIFE)
        self._in_flight = 0
        self._requests = 0
        self._errors = 0
        self._error_rate = 0.0
        self._last_error: str | None = None
        self.used = False
        """Something was added since it was made."""

    def begin(self, now: float) -> None:
        """A request is sent."""
        self._in_flight += 1
        self._requests += 1
        self.used = True
        self.health.begin(now)

    def first_token(self, seconds: float, now: float) -> None:
        """The first token came so long after the request."""
        self._ttft.add(seconds, now)

    def succeed(self, seconds_per_token: float | None, now: float) -> None:
        """The answer is whole; without a second token there is no time per token."""
        self._in_flight -= 1
        self._note(failed=False)
        self.health.succeed(now)
        if seconds_per_token is not None:
            self._tpot.add(seconds_per_token, now)

    def fail(self, error: BaseException, now: float) -> None:
        """The request ended with an error, or nobody wanted it any more."""
        self._in_flight -= 1
        if isinstance(error, AssistantError) and is_fault(error):
            self._errors += 1
            self._last_error = error.code
            self._note(failed=True)
            self.health.fail(error, now)
        else:
            self.health.abandon()

    def facts(self, now: float) -> WorkerFacts:
        """All of it, as it is now."""
        return WorkerFacts(
            state=self.health.state(now),
            again_in=self.health.again_in(now),
            in_flight=self._in_flight,
            ttft=self._ttft.quantiles(),
            tpot=self._tpot.quantiles(),
            error_rate=self._error_rate,
            requests=self._requests,
            errors=self._errors,
            last_error=self._last_error,
        )

    def _note(self, *, failed: bool) -> None:
        self._error_rate += (failed - self._error_rate) * (1 - 0.5 ** (1 / _ERRORS_HALF_LIFE))

    # What is kept over a restart: figures, not the state, which the next node finds out itself.

    def state(self) -> "RecordState":
        """Everything worth keeping."""
        return RecordState(
            ttft=self._ttft.state(),
            tpot=self._tpot.state(),
            requests=self._requests,
            errors=self._errors,
            error_rate=self._error_rate,
            last_error=self._last_error,
        )

    def restore(self, state: "RecordState") -> None:
        """The opposite."""
        self._ttft.restore(state.ttft)
        self._tpot.restore(state.tpot)
        self._requests, self._errors = max(0, state.requests), max(0, state.errors)
        self._error_rate = min(max(0.0, state.error_rate), 1.0)
        self._last_error = state.last_error


class RecordState(msgspec.Struct, frozen=True, kw_only=True):
    """A record as data."""

    ttft: SketchState
    tpot: SketchState
    requests: int
    errors: int
    error_rate: float
    last_error: str | None = None
