"""One HTTP request and the answer to it: the only place that speaks ASGI messages."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, cast

import msgspec
from starlette.types import Message, Receive, Scope, Send

from ai_assistant.gateway.error_shapes import shaped_body
from ai_assistant.gateway.errors import SlowUpload, error_headers, verdict
from ai_assistant.gateway.keys import Caller
from ai_assistant.gateway.record import Record
from ai_assistant.gateway.said import NOTHING, Said, in_body
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.protocol.errors import AssistantError, UnsupportedFeature

Header = tuple[bytes, bytes]

_JSON = b"application/json"
_ANYONE = Caller()
_STREAM: list[Header] = [
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
_DOWNLOAD: list[Header] = [
    (b"content-type", b"application/octet-stream"),
    (b"content-disposition", b"attachment"),  # never a page of ours
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
]


class ClientGone(Exception):
    """Nobody is there any more to answer."""


def new_id() -> str:
    """A request's id: in `X-Request-Id`, in the log and in the answer."""
    return secrets.token_hex(12)


class Exchange:
    """A request's body in, an answer out. Sends no longer than the settings allow."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, settings: GatewaySettings
    ) -> None:
        self.scope = scope
        self.settings = settings
        self.request_id: str = scope.get("ai_assistant.request_id") or new_id()
        self.record: Record = scope.get("ai_assistant.record") or Record()
        self.said: Said = NOTHING
        """What the body says beside the request itself."""
        self.raw = b""
        """The body as it came."""
        self.started = False
        """The status line is on its way: an error can only be an event now."""
        self._loop = asyncio.get_running_loop()
        self._receive = receive
        self._send = send

    @property
    def caller(self) -> Caller:
        """Who asks."""
        return caller_of(self.scope)

    def header(self, name: bytes) -> str | None:
        """The first header of that (lower-case) name."""
        return header(self.scope, name)

    async def body(self) -> bytes:
        """The whole body."""
        body = await self._whole()
        self.said = in_body(body)
        self.raw = body
        return body

    async def _whole(self) -> bytes:
        if (self.header(b"content-encoding") or "identity") != "identity":
            raise UnsupportedFeature("Send the body without Content-Encoding.")
        message = await self._next_part()
        if not message.get("more_body"):
            return message.get("body", b"")
        parts = bytearray(message.get("body", b""))
        while message.get("more_body"):
            message = await self._next_part()
            parts += message.get("body", b"")
        return bytes(parts)

    async def parts(self) -> AsyncIterator[bytes]:
        """The body as it comes, for what is too large to be held."""
        if (self.header(b"content-encoding") or "identity") != "identity":
            raise UnsupportedFeature("Send the body without Content-Encoding.")
        more = True
        while more:
            message = await self._next_part()
            more = message.get("more_body", False)
            yield message.get("body", b"")

    async def gone(self) -> None:
        """Return when the client has closed the connection. Only after `body`."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def send_json(
        self, body: bytes, status: int = 200, headers: Iterable[Header] = ()
    ) -> None:
        """The whole answer at once."""
        await self._send_whole(body, _JSON, status, headers)

    async def send_text(self, body: bytes, content_type: str) -> None:
        """The whole answer at once, in another format."""
        await self._send_whole(body, content_type.encode(), 200, ())

    async def send_object(self, value: Any) -> None:
        """The whole answer at once, encoded here."""
        await self.send_json(msgspec.json.encode(value))

    async def send_error(self, error: AssistantError) -> None:
        """The whole answer is an error."""
        body = shaped_body(error, self.scope["path"], self.request_id)
        await self.send_json(body, verdict(error).status, error_headers(error))

    async def start_stream(self, media: bytes, headers: Iterable[Header] = ()) -> None:
        """From here on the answer is a stream of events."""
        self.started = True
        headers = [(b"content-type", media), *_STREAM, *headers]
        await self._deliver({"type": "http.response.start", "status": 200, "headers": headers})

    async def start_download(self, length: int) -> None:
        """From here on the answer is so many bytes of a file."""
        self.started = True
        headers = [*_DOWNLOAD, (b"content-length", b"%d" % length)]
        await self._deliver({"type": "http.response.start", "status": 200, "headers": headers})

    async def send_events(self, events: bytes, *, last: bool = False) -> None:
        """Some events, in one write."""
        await self._deliver({"type": "http.response.body", "body": events, "more_body": not last})

    async def _send_whole(
        self, body: bytes, content_type: bytes, status: int, headers: Iterable[Header]
    ) -> None:
        self.started = True
        kind, length = (b"content-type", content_type), (b"content-length", b"%d" % len(body))
        start = {"type": "http.response.start", "status": status}
        await self._deliver({**start, "headers": [kind, length, *headers]})
        await self._deliver({"type": "http.response.body", "body": body})

    async def _next_part(self) -> Message:
        try:
            async with asyncio.timeout(self.settings.upload_timeout_seconds):
                message = await self._receive()
        except TimeoutError:
            raise SlowUpload("The body stopped in the middle; send it again.") from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        return message

    async def _deliver(self, message: Message) -> None:
        # A timer costs a tenth of `asyncio.timeout`; cutting the connection ends the send.
        timer = self._loop.call_later(self.settings.send_timeout_seconds, self._abort)
        try:
            await self._send(message)
        finally:
            timer.cancel()

    def _abort(self) -> None:
        """Close without waiting for the client to read what is buffered for it."""
        abort = cast("Callable[[], None] | None", self.scope.get("state", {}).get("abort"))
        if abort is not None:
            abort()


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of that (lower-case) name."""
    for key, value in scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return None


def caller_of(scope: Scope) -> Caller:
    """Who asks; without keys nobody in particular."""
    return scope.get("ai_assistant.caller") or _ANYONE
