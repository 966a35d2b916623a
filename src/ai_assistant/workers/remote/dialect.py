"""The seam to a wire format: a request becomes a call, events become pieces."""

from typing import Protocol

from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.protocol.requests import EmbedRequest, GenerateRequest
from ai_assistant.workers.remote.closing import Closing
from ai_assistant.workers.remote.kinds import Target
from ai_assistant.workers.remote.transport import Call


class Reader(Protocol):
    """Reads one answer. `ended` is true once the server said that this was all."""

    ended: bool

    @property
    def whole(self) -> bool:
        """Every choice has ended; only figures may still come."""
        ...

    def read(self, event: bytes) -> list[TokenChunk]:
        """The pieces of one event; raises the error that it means."""
        ...

    def read_whole(self, body: bytes) -> list[TokenChunk]:
        """The pieces of an answer that came as one object."""
        ...

    def close(self) -> list[TokenChunk]:
        """The last pieces, `usage` among them; raises `StreamBroken` if one is missing."""
        ...


class Dialect(Protocol):
    """One wire format."""

    def headers(self, key: str) -> dict[str, str]:
        """What goes with every call; `key` may be empty."""
        ...

    def call(self, request: GenerateRequest, target: Target) -> Call:
        """The request on the wire; raises `UnsupportedFeature` for what the server cannot do."""
        ...

    def thinking(self, request: GenerateRequest) -> int:
        """Tokens that the call allows an answer beyond `max_tokens`."""
        ...

    def embed(self, request: EmbedRequest, target: Target) -> Call:
        """The same for vectors."""
        ...

    def reader(self, request: GenerateRequest, target: Target, closing: Closing) -> Reader:
        """A fresh reader for the request's answer."""
        ...
