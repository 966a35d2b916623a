"""uvicorn's HTTP protocol with bounds: on headers, on slow ones, on bodies that nobody reads."""

import asyncio
from typing import ClassVar, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ai_assistant.gateway.errors import HeadersTooLarge, error_body, error_headers, verdict
from ai_assistant.gateway.exchange import new_id
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.protocol.errors import AssistantError, InvalidRequest, Overloaded

_UNREAD_BYTES = 256 << 20
"""Rest of a refused body that is thrown away before the connection is closed."""

_CROWD_SECONDS = 2.0
"""A connection over the limit that asks nothing for so long is closed."""


class BoundedHttp(HttpToolsProtocol):
    """One connection."""

    settings: ClassVar[GatewaySettings] = GatewaySettings()
    _one_too_many = False
    """It is told so when it asks: an answer before that would be lost."""
    _head_open = True
    _head_bytes = 0
    _unparsed = 0
    _too_large = False
    _unread = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected; its first request must come soon."""
        super().connection_made(cast("asyncio.Transport", transport))
        limit = self.settings.max_connections
        self._one_too_many = len(self.connections) > limit
        if len(self.connections) > 2 * limit:
            self.transport.abort()
        self._arm_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._disarm_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; refuse a single header that grows over the limit before it ends."""
        if self._one_too_many:
            self._refuse(self._crowd_error())
            return
        grows = self._head_open
        super().data_received(data)
        if grows and self._head_open:
            self._unparsed += len(data)
            if self._unparsed > self.settings.max_header_bytes:
                self._refuse(self._headers_error())

    def on_message_begin(self) -> None:
        """A request begins; its answer may have to be cut off."""
        super().on_message_begin()
        self.scope["state"]["abort"] = self.transport.abort  # pyright: ignore[reportTypedDictNotRequiredAccess]
        self._head_open = True
        self._head_bytes = self._unparsed = 0
        if self._head_timer is None:
            self._arm_head_timer()

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A whole header."""
        super().on_header(name, value)
        self._count(len(name) + len(value) + 4)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._head_open = False
        self._disarm_head_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body; what comes after the answer is dropped, within bounds."""
        if self.cycle.response_complete:
            self._unread += len(body)
            if self._head_timer is None:
                self._arm_head_timer()
            if self._unread > _UNREAD_BYTES:
                self.transport.close()
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """The parser gave up."""
        self._refuse(self._headers_error() if self._too_large else InvalidRequest(msg))

    def _count(self, size: int) -> None:
        """Raising makes the parser give up."""
        self._head_bytes += size
        if self._head_bytes > self.settings.max_header_bytes:
            self._too_large = True
            raise ValueError("headers too large")

    def _headers_error(self) -> HeadersTooLarge:
        limit = self.settings.max_header_bytes
        return HeadersTooLarge(f"The headers are larger than {limit} bytes; send fewer.")

    def _crowd_error(self) -> Overloaded:
        limit = self.settings.max_connections
        return Overloaded(f"{limit} connections are open already; try again later.")

    def _refuse(self, error: AssistantError) -> None:
        if self.transport.is_closing():
            return
        body = error_body(error)
        head = (
            STATUS_LINE[verdict(error).status]
            + b"content-type: application/json\r\n"
            + b"content-length: %d\r\nx-request-id: %s\r\n" % (len(body), new_id().encode())
            + b"".join(b"%s: %s\r\n" % pair for pair in error_headers(error))
            + b"connection: close\r\n\r\n"
        )
        self.transport.write(head + body)
        self.transport.close()

    def _arm_head_timer(self) -> None:
        seconds = _CROWD_SECONDS if self._one_too_many else self.settings.upload_timeout_seconds
        self._head_timer = self.loop.call_later(seconds, self.transport.close)

    def _disarm_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def bounded_by(settings: GatewaySettings) -> type[BoundedHttp]:
    """The protocol with these settings' limits."""
    return cast("type[BoundedHttp]", type("BoundedHttp", (BoundedHttp,), {"settings": settings}))
