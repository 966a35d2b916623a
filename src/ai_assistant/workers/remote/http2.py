"""HTTP/2: many streams over one encrypted connection, each ended alone and at once.

On the `h2` protocol library, because the clients that have HTTP/2 do not reset a stream that
nobody reads on: the server would go on writing, and charging.
"""

import asyncio
import ssl
from collections.abc import Mapping

from ai_assistant.protocol.errors import ProviderUnreachable
from ai_assistant.workers.remote.address import Address
from ai_assistant.workers.remote.http2_connection import Connection
from ai_assistant.workers.remote.transport import Call, Reply, Transport


class Http2Transport:
    """Connections that are made as they are needed, each for as many calls as the server takes."""

    def __init__(
        self,
        address: Address,
        headers: Mapping[str, str],
        *,
        context: ssl.SSLContext | None,
        otherwise: Transport,
    ) -> None:
        """`otherwise` takes over for good if the server does not speak HTTP/2."""
        self._address = address
        self._headers = [(name.lower(), value) for name, value in headers.items()]
        self._context = context or ssl.create_default_context()
        self._context.set_alpn_protocols(["h2", "http/1.1"])
        self._otherwise = otherwise
        self._speaks = True
        self._connections: list[Connection] = []
        self._connecting = asyncio.Lock()

    async def open(self, call: Call, *, connect_seconds: float) -> Reply:
        """Send; returns with the answer's head."""
        if self._speaks:
            connection = await self._free_connection(connect_seconds)
            if connection is not None:
                return await connection.ask(self._head(call), call.body)
        return await self._otherwise.open(call, connect_seconds=connect_seconds)

    async def close(self) -> None:
        """Give every connection back."""
        for connection in self._connections:
            connection.leave()
        self._connections.clear()
        await self._otherwise.close()

    def _head(self, call: Call) -> list[tuple[str, str]]:
        address = self._address
        name = f"[{address.host}]" if ":" in address.host else address.host
        return [
            (":method", call.method),
            (":scheme", "https"),
            (":authority", name if address.port == 443 else f"{name}:{address.port}"),
            (":path", address.path_of(call.path, from_root=call.from_root)),
            *self._headers,
            ("content-type", call.media),
            ("content-length", str(len(call.body))),
        ]

    def _known(self) -> "Connection | None":
        self._connections = [one for one in self._connections if one.alive]
        return next((one for one in self._connections if one.has_room), None)

    async def _free_connection(self, connect_seconds: float) -> "Connection | None":
        if found := self._known():
            return found
        async with self._connecting:  # one makes it, the others use it
            if not self._speaks:
                return None
            return self._known() or await self._connected(connect_seconds)

    async def _connected(self, connect_seconds: float) -> "Connection | None":
        host, port = self._address.host, self._address.port
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(connect_seconds):
                transport, connection = await loop.create_connection(
                    lambda: Connection(host), host, port, ssl=self._context
                )
                if _speaks_h2(transport):
                    await connection.greeted.wait()  # how many streams it takes, and how much
        except ssl.SSLError:
            raise ProviderUnreachable(
                f"The certificate of {host} is not trusted; set ca_file if it is your own."
            ) from None
        except TimeoutError:
            raise ProviderUnreachable(f"No connection to {host} in time.") from None
        except OSError as error:
            raise ProviderUnreachable(f"No connection to {host}: {error.strerror}.") from None
        if not _speaks_h2(transport):
            transport.close()
            self._speaks = False
            return None
        self._connections.append(connection)
        return connection


def _speaks_h2(transport: asyncio.BaseTransport) -> bool:
    return transport.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
