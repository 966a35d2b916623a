"""One HTTP/2 connection and its streams, on the `h2` protocol library."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from ai_assistant.protocol.errors import AssistantError, MalformedAnswer, StreamBroken
from ai_assistant.workers.remote.transport import StaleConnection

_STREAM_WINDOW = 1 << 18
_CONNECTION_WINDOW = 1 << 24
"""Bytes that may be unread, so that one slow reader does not stop the others."""
_IDLE_SECONDS = 60.0
_LAST_SECONDS = 2.0
"""How long the end of a stream may take after that of its answer."""


class Connection(asyncio.Protocol):
    """One connection and its streams."""

    def __init__(self, host: str) -> None:
        self._host = host
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self._h2 = h2.connection.H2Connection(config)
        self._streams: dict[int, Stream] = {}
        self._loop = asyncio.get_running_loop()
        self._window = asyncio.Event()
        self._idle: asyncio.TimerHandle | None = None
        self._heard = 0.0
        self.greeted = asyncio.Event()
        """The server's settings are here, or it is gone."""
        self.alive = True
        """Takes new calls."""

    @property
    def has_room(self) -> bool:
        """The server takes another stream."""
        return len(self._streams) < self._h2.remote_settings.max_concurrent_streams

    async def ask(self, head: list[tuple[str, str]], body: bytes) -> "Stream":
        """Send a call and wait for its answer's head."""
        if not self.alive:
            raise StaleConnection
        if self._idle is not None:
            self._idle.cancel()
        number = self._h2.get_next_available_stream_id()
        stream = self._streams[number] = Stream(self, number)
        try:
            self._h2.send_headers(number, head, end_stream=not body)
            await self._send(number, body)
            await stream.head
        except h2.exceptions.H2Error:
            stream.cancel()
            raise StreamBroken(f"{self._host} broke the connection.") from None
        except BaseException:
            stream.cancel()
            raise
        return stream

    async def _send(self, number: int, body: bytes) -> None:
        """As fast as the server takes it."""
        self.flush()
        while body:
            room = self._h2.local_flow_control_window(number)
            size = min(room, self._h2.max_outbound_frame_size, len(body))
            if size <= 0:
                self._window.clear()
                await self._window.wait()
                if (stream := self._streams.get(number)) is None or stream.over:
                    return  # the head, or its error, says why
                continue
            part, body = body[:size], body[size:]
            self._h2.send_data(number, part, end_stream=not body)
            self.flush()

    def flush(self) -> None:
        """Write what the protocol wants to say."""
        if (data := self._h2.data_to_send()) and not self._wire.is_closing():
            self._wire.write(data)

    def acknowledge(self, number: int, size: int) -> None:
        """These bytes were read: the server may send as many more."""
        if self.alive or number in self._streams:
            try:
                self._h2.acknowledge_received_data(size, number)
                self.flush()
            except h2.exceptions.H2Error:
                return  # the stream or the connection is over

    def forget(self, number: int, *, reset: bool) -> None:
        """The stream is done; with `reset` the server is told at once."""
        stream = self._streams.pop(number, None)
        if stream is None:
            return
        if reset:
            if self._heard < stream.began:  # perhaps nobody is there any more
                self.alive = False
            try:
                self._h2.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
                self.flush()
            except h2.exceptions.H2Error:
                pass
        if not self._streams:
            if self.alive:
                self._idle = self._loop.call_later(_IDLE_SECONDS, self.leave)
            else:
                self._wire.close()

    def leave(self) -> None:
        """Say good-bye and close."""
        self.alive = False
        if self._idle is not None:
            self._idle.cancel()
        if not self._wire.is_closing():
            self._h2.close_connection()
            self.flush()
            self._wire.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast("asyncio.Transport", transport)
        self._h2.initiate_connection()
        self._h2.update_settings(
            {
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: _STREAM_WINDOW,
                h2.settings.SettingCodes.ENABLE_PUSH: 0,
            }
        )
        self._h2.increment_flow_control_window(_CONNECTION_WINDOW)
        self.flush()

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.H2Error:
            self._fail(MalformedAnswer(f"What {self._host} sent is not HTTP/2."))
            self.flush()
            self._wire.close()
            return
        for event in events:
            self._hear(event)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(StreamBroken(f"{self._host} ended the connection in the middle."))

    def _hear(self, event: h2.events.Event) -> None:
        found: Any = event
        if isinstance(event, h2.events.ConnectionTerminated):
            self._going_away(event.last_stream_id or 0)
            return
        if isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
            self._window.set()
            if isinstance(event, h2.events.RemoteSettingsChanged):
                self.greeted.set()
            return
        stream = self._streams.get(getattr(found, "stream_id", 0) or 0)
        if stream is None:
            if isinstance(event, h2.events.DataReceived):  # of a stream that we have reset
                self._h2.acknowledge_received_data(found.flow_controlled_length, found.stream_id)
        elif isinstance(event, h2.events.ResponseReceived):
            stream.begin(dict(found.headers))
        elif isinstance(event, h2.events.DataReceived):
            stream.push(found.data, found.flow_controlled_length)
        elif isinstance(event, h2.events.StreamEnded):
            stream.finish(None)
        elif isinstance(event, h2.events.StreamReset):
            refused = found.error_code == h2.errors.ErrorCodes.REFUSED_STREAM
            broken = StreamBroken(f"{self._host} broke the answer off.")
            stream.finish(StaleConnection() if refused and not stream.head.done() else broken)
            self._window.set()

    def _going_away(self, last: int) -> None:
        """No new streams; those that it has not looked at may be sent again elsewhere."""
        self.alive = False
        for number, stream in list(self._streams.items()):
            if number > last and not stream.head.done():
                stream.finish(StaleConnection())
        self._window.set()

    def _fail(self, error: AssistantError) -> None:
        self.alive = False
        self.greeted.set()
        for stream in list(self._streams.values()):
            stream.finish(error)
        self._window.set()


class Stream:
    """One call and its answer."""

    def __init__(self, connection: Connection, number: int) -> None:
        self._connection = connection
        self._number = number
        self._pieces: list[bytes] = []
        self._unread = 0
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._released: asyncio.TimerHandle | None = None
        self.over = False
        """Nothing more will arrive."""
        loop = asyncio.get_running_loop()
        self.began = loop.time()
        self.head: asyncio.Future[None] = loop.create_future()
        self.status = 0
        self.headers: Mapping[str, str] = {}

    def begin(self, headers: dict[str, str]) -> None:
        self.headers = {name.lower(): value for name, value in headers.items()}
        status = self.headers.get(":status", "")
        self.status = int(status) if status.isdigit() else 0
        if not self.head.done():
            self.head.set_result(None)

    def push(self, data: bytes, size: int) -> None:
        if self._released is not None:
            self._connection.acknowledge(self._number, size)
            return
        self._pieces.append(data)
        self._unread += size
        self._wake()

    def finish(self, error: Exception | None) -> None:
        if self.over:
            return
        self.over = True
        self._error = error
        if not self.head.done():
            self.head.set_exception(error or StreamBroken("The server ended without an answer."))
        if self._released is not None:
            self.cancel()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def read(self) -> bytes:
        while not self._pieces and not self.over:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._pieces:
            data = b"".join(self._pieces)
            size, self._unread = self._unread, 0
            self._pieces.clear()
            self._connection.acknowledge(self._number, size)
            return data
        if self._error is not None:
            raise self._error
        return b""

    async def release(self) -> None:
        """The last words of the protocol come a moment after those of the answer."""
        if self.over:
            self.cancel()
        else:
            self._released = asyncio.get_running_loop().call_later(_LAST_SECONDS, self.cancel)

    async def abort(self) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Tell the server at once, if it is not done anyway."""
        if self._released is not None:
            self._released.cancel()
        self._connection.forget(self._number, reset=not self.over)
        if self.head.done() and not self.head.cancelled():
            self.head.exception()  # heard
