"""Where a provider is: its address, and whose network that is."""

import ipaddress
from urllib.parse import urlsplit

import msgspec

from ai_assistant.protocol.egress import Place
from ai_assistant.protocol.errors import InvalidRequest

_PORTS = {"http": 80, "https": 443}


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """A base address, taken apart."""

    base: str
    """Without a slash at its end."""
    host: str
    port: int
    secure: bool
    path: str
    place: Place

    def path_of(self, path: str, *, from_root: bool = False) -> str:
        """A call's whole path."""
        return (self.path.removesuffix("/v1") if from_root else self.path) + path

    def url_of(self, path: str, *, from_root: bool = False) -> str:
        """A call's whole address."""
        return (self.base.removesuffix("/v1") if from_root else self.base) + path


def read_address(base_url: str, place: Place | None = None) -> Address:
    """The parts of `base_url`; raises `InvalidRequest`.

    Without `place` it is told by the address: a name that is not this machine's is a stranger's
    until the owner says otherwise.
    """
    try:
        parts = urlsplit(base_url.strip())
        port = parts.port
    except ValueError:
        raise InvalidRequest(f"base_url: {base_url!r} is not an address.") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise InvalidRequest(
            f"base_url: {base_url!r} must begin with http:// or https:// and name a host."
        )
    if parts.username or parts.password:
        raise InvalidRequest("base_url: leave the key out of the address; see `providers add -h`.")
    if parts.query or parts.fragment:
        raise InvalidRequest("base_url: leave out what comes after ? or #.")
    return Address(
        base=f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}",
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        secure=parts.scheme == "https",
        path=parts.path.rstrip("/"),
        place=place or place_of(parts.hostname),
    )


def place_of(host: str) -> Place:
    """Whose network an address is in, as far as the address alone says it."""
    if host == "localhost":
        return "machine"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "cloud"
    if address.is_loopback:
        return "machine"
    mine = address.is_private or address.is_link_local
    return "lan" if mine and not address.is_unspecified else "cloud"
