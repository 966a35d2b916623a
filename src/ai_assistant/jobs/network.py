"""Whether this machine is online: from its own routes and interfaces, no stranger is asked.

Only a server that is to be used anyway is tried, and only when nobody has just used it.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

_DOCUMENTATION = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Addresses that belong to nobody (RFC 5737, RFC 3849). Nothing is sent to them."""
_FRESH_SECONDS = 10.0
_TRY_SECONDS = 3.0
_ROUTE_SECONDS = 1.0


def has_route() -> bool:
    """Whether the system knows a way out: a UDP socket is connected, which sends no packet."""
    return any(_finds_way(family, address) for family, address in _DOCUMENTATION)


def _finds_way(family: socket.AddressFamily, address: str) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            return not _is_local(probe.getsockname()[0])
    except OSError:
        return False


def _is_local(address: str) -> bool:
    return address.startswith(("127.", "169.254.", "fe80:")) or address == "::1"


class _Seen(NamedTuple):
    reached: bool
    at: float


class HostNetwork:
    """Implements `ports.Network`."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self._by_host: dict[str, set[str]] = {}
        self._route = _Seen(True, float("-inf"))

    def has_route(self) -> bool:
        """A way out, as it was a second ago: asking the system costs 20 µs."""
        now = time.monotonic()
        if now - self._route.at > _ROUTE_SECONDS:
            self._route = _Seen(has_route(), now)
        return self._route.reached

    def know(self, addresses: Iterable[str]) -> None:
        """Servers of which somebody may tell by their host alone."""
        for address in addresses:
            self._by_host.setdefault(_place(address)[0], set()).add(address)

    def hear(self, host: str, reached: bool) -> None:
        """`note`, of all known servers there."""
        for address in self._by_host.get(host, ()):
            self.note(address, reached)

    async def online(self, address: str | None = None) -> bool:
        """A way out, and with `address` also that server at the end of it."""
        if address is None:
            return has_route()
        host, port = _place(address)
        if not has_route() and not host.startswith("127.") and host not in ("localhost", "::1"):
            return False
        seen = self._seen.get(_key(address))
        if seen is None or time.monotonic() - seen.at > _FRESH_SECONDS:
            self.note(address, await _answers(host, port))
        return self._seen[_key(address)].reached

    def note(self, address: str, reached: bool) -> None:
        """What whoever uses that server has just met with."""
        self._seen[_key(address)] = _Seen(reached, time.monotonic())


def _key(address: str) -> str:
    host, port = _place(address)
    return f"{host}:{port}"


def _place(address: str) -> tuple[str, int]:
    parts = urlsplit(address if "//" in address else f"//{address}")
    return parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)


async def _answers(host: str, port: int) -> bool:
    """Whether somebody listens there; the connection is closed at once."""
    try:
        async with asyncio.timeout(_TRY_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
