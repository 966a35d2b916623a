"""HTTP/1.1 through aiohttp: the cheapest way per chunk, with a pool and proxies."""

import ssl
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import aiohttp

from ai_assistant.protocol.errors import (
    AssistantError,
    MalformedAnswer,
    ProviderUnreachable,
    StreamBroken,
)
from ai_assistant.workers.remote.address import Address
from ai_assistant.workers.remote.transport import Call, Reply, StaleConnection

_IDLE_SECONDS = 15.0
"""A connection that rests longer is closed: servers close theirs, and a race costs a request."""


class Http1Transport:
    """A pool of connections that are made as they are needed."""

    def __init__(
        self, address: Address, headers: Mapping[str, str], *, context: ssl.SSLContext | None
    ) -> None:
        """`headers` go with every call, the key among them."""
        self._address = address
        self._headers = dict(headers)
        self._context = context
        self._session: aiohttp.ClientSession | None = None

    async def open(self, call: Call, *, connect_seconds: float) -> Reply:
        """Send; returns with the answer's head."""
        used = SimpleNamespace(reused=False)
        try:
            return await self._send(call, connect_seconds, used)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            if used.reused and isinstance(error, aiohttp.ServerDisconnectedError | OSError):
                raise StaleConnection from None
            raise _translated(self._address, error) from None

    async def _send(self, call: Call, connect_seconds: float, used: SimpleNamespace) -> Reply:
        response = await self._opened().request(
            call.method,
            self._address.url_of(call.path, from_root=call.from_root),
            data=call.body or None,
            headers={"Content-Type": call.media},
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, connect=connect_seconds),
            trace_request_ctx=used,
        )
        return _Http1Reply(response, self._address)

    async def close(self) -> None:
        """Give every connection back."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> aiohttp.ClientSession:
        # Not in the constructor: a session belongs to the loop that runs.
        if self._session is None:
            tracing = aiohttp.TraceConfig()
            tracing.on_connection_reuseconn.append(_note_reuse)
            connector = aiohttp.TCPConnector(
                limit=0,  # bounded by the worker's own places
                keepalive_timeout=_IDLE_SECONDS,
                ssl=self._context or True,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                headers={**self._headers, "Accept-Encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[tracing],
                # A proxy for the web has no business between this machine and its neighbours.
                trust_env=self._address.place == "cloud",
                raise_for_status=False,
            )
        return self._session


async def _note_reuse(_: aiohttp.ClientSession, context: Any, __: Any) -> None:
    context.trace_request_ctx.reused = True


class _Http1Reply:
    """One response."""

    def __init__(self, response: aiohttp.ClientResponse, address: Address) -> None:
        self._response = response
        self._address = address
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}

    async def read(self) -> bytes:
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise _translated(self._address, error) from None

    async def release(self) -> None:
        self._response.release()

    async def abort(self) -> None:
        self._response.close()


def _translated(address: Address, error: Exception) -> AssistantError:
    """The one door for this library's errors. Its words may hold addresses, never the key."""
    host = address.host
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLError):
        return ProviderUnreachable(
            f"The certificate of {host} is not trusted; set ca_file if it is your own."
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        return ProviderUnreachable(f"No connection to {host}: {error.strerror or error.os_error}.")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return ProviderUnreachable(f"No connection to {host} in time.")
    if isinstance(error, aiohttp.InvalidURL | ValueError) and not isinstance(
        error, aiohttp.ClientPayloadError
    ):
        return ProviderUnreachable(f"The address of {host} cannot be used; mend base_url.")
    if isinstance(error, aiohttp.ClientResponseError):
        return MalformedAnswer(f"What {host} sent is not HTTP.")
    return StreamBroken(f"{host} ended the connection in the middle.")
