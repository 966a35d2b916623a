"""What leaves this machine, as whoever guards the door sees it."""

from typing import Literal, Protocol

import msgspec

Place = Literal["machine", "lan", "cloud"]
"""Where a worker computes: here, in the owner's own network, or at a stranger's."""
Outcome = Literal["completed", "failed", "cancelled", "unknown"]
"""How a departure went. `unknown`: the program ended before it knew; bytes may have left."""


class Departure(msgspec.Struct, frozen=True, kw_only=True):
    """One request, just before it is sent. Sent again, it departs again."""

    request_id: str
    tenant: str
    provider: str
    """The name that the owner gave."""
    model: str
    place: Place
    region: str
    """As the owner declared it; empty: unknown."""
    host: str
    path: str
    body: bytes
    """Exactly what is sent. Whoever is told keeps digests and counts, not the content."""


class Gate(Protocol):
    """Asked before every departure. It fails closed: what it does not let out is not sent."""

    async def let_out(self, departure: Departure) -> None:
        """Record the departure and return, or raise an `AssistantError`: then nothing is sent."""
        ...

    def came_back(
        self,
        departure: Departure,
        outcome: Outcome,
        *,
        status: int = 0,
        received: int = 0,
        error: str = "",
    ) -> None:
        """Record how a departure that was let out ended; it does not raise.

        `status` is HTTP's, `received` counts bytes of the answer, `error` is the error's code.
        """
        ...
