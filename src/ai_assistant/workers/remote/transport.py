"""The seam to HTTP: one call out, a status and a stream of bytes back."""

from collections.abc import Mapping
from typing import Protocol

import msgspec


class StaleConnection(Exception):
    """The server had closed a resting connection just when it was taken: send again."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request. The headers hold no key; the transport adds it."""

    method: str = "POST"
    path: str
    """Behind the provider's base address."""
    from_root: bool = False
    """Behind its host instead: other nodes tell there how they are doing."""
    body: bytes = b""
    media: str = "application/json"
    """What the body is."""


class Reply(Protocol):
    """An answer whose head has arrived. Whoever gets one ends it with `release` or `abort`."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case."""
        ...

    async def read(self) -> bytes:
        """The next bytes, as they come; empty at the proper end. Raises `StreamBroken`."""
        ...

    async def release(self) -> None:
        """The answer was read to its end: the connection may serve the next call."""
        ...

    async def abort(self) -> None:
        """Tell the server at once that nobody reads on."""
        ...


class Transport(Protocol):
    """Connections to one provider."""

    async def open(self, call: Call, *, connect_seconds: float) -> Reply:
        """Send; returns with the answer's head.

        Raises `ProviderUnreachable` if nothing was sent, `StreamBroken` if something may have
        been, `StaleConnection` if another connection will do.
        """
        ...

    async def close(self) -> None:
        """Give every connection back."""
        ...
