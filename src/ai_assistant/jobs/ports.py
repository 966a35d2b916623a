"""What jobs need of the rest of the house, and what others may plug in."""

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from ai_assistant.jobs.results import Answered
from ai_assistant.protocol.errors import AssistantError, Unavailable
from ai_assistant.protocol.requests import GenerateRequest


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One line on its way to the endpoint."""

    endpoint: str
    body: bytes
    owner: str
    """Who asked, as the gateway wrote it down."""
    request_id: str
    batch: str = ""
    labels: tuple[str, ...] = ()
    """That stick to the whole batch."""
    spill: bool = False
    """The deadline is near, and the rules let this line go to a cloud."""


SPILLED = " elsewhere"
"""Behind the name of a model: the queue of lines that go to a cloud in its place."""


class Desk(Protocol):
    """Answers lines as the endpoint would, in the class `batch`."""

    async def answer(self, call: Call) -> Answered:
        """The answer, also one that says no.

        Raises an `AssistantError` that is not the request's fault: it may be tried again.
        """
        ...

    def barred(self, owner: str) -> str:
        """Why no line of that owner is answered any more, such as a key that was taken away."""
        ...

    def limited(self, owner: str) -> Unavailable | None:
        """Why no line of that owner may begin now, if it has had what its key allows."""
        ...

    def failure(self, error: AssistantError, request_id: str) -> Answered:
        """The answer that says this error."""
        ...

    def model_of(self, name: str | None, owner: str) -> str:
        """The model that a line of that owner means; empty: none is named, and there is no default
        for that owner."""
        ...

    def outline(self, call: Call, model: str) -> GenerateRequest:
        """Whose a line is, how it comes and what limits it: all but its text."""
        ...

    def room(self, model: str) -> int:
        """How many lines keep that model busy; 0: others need its memory now."""
        ...


class Clock(Protocol):
    """The time of day."""

    def now(self) -> float:
        """Seconds since 1970."""
        ...

    async def sleep_until(self, at: float) -> None: ...


class Network(Protocol):
    """Whether something beyond this machine can be reached."""

    async def online(self, address: str | None = None) -> bool:
        """With `address` (a URL): whether that server can be reached; else: is there a way out."""
        ...

    def has_route(self) -> bool:
        """Whether there is a way out, at once and from memory."""
        ...

    def note(self, address: str, reached: bool) -> None:
        """Somebody just tried."""
        ...


class Rules(Protocol):
    """What routing and policy say about a batch. The default lets nothing leave."""

    def needs_network(self, line: GenerateRequest) -> Sequence[str]:
        """The addresses of the servers that have its model and may have the line; none: it can be
        served here."""
        ...

    def may_spill(self, line: GenerateRequest) -> bool:
        """Whether a cloud has its model too and may have the line, if its deadline is near."""
        ...


class Ports(NamedTuple):
    """All of them, as one node has them."""

    desk: Desk
    clock: Clock
    network: Network
    rules: Rules


class HomeRules:
    """Everything stays here."""

    def needs_network(self, line: GenerateRequest) -> Sequence[str]:
        """Nothing does."""
        return ()

    def may_spill(self, line: GenerateRequest) -> bool:
        """Nothing may."""
        return False


class SystemClock:
    """The machine's clock."""

    _LONGEST = 20.0
    """The machine may have slept, or its clock may have been set."""

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()

    async def sleep_until(self, at: float) -> None:
        """Return when it is later than that."""
        while (left := at - self.now()) > 0:  # noqa: ASYNC110 - no event tells of a set clock
            await asyncio.sleep(min(left, self._LONGEST))
