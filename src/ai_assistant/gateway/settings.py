"""What the owner may set about the endpoint."""

import msgspec


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Address, keys and limits."""

    host: str = "127.0.0.1"
    port: int = 7717
    api_keys: tuple[str, ...] = ()
    """Demanded of every request when set; must be set beyond loopback. `keys.py` reads them."""
    allowed_origins: tuple[str, ...] = ()
    """Web pages of other origins that may call, such as http://localhost:3000."""
    max_body_bytes: int = 32 << 20
    max_header_bytes: int = 64 << 10
    max_requests: int = 512
    """Requests for answers that may be open at once; more get a 429."""
    max_connections: int = 2048
    """Connections that may be open at once, busy or not; more get a 429."""
    upload_timeout_seconds: float = 30.0
    """A client that stops in the middle of its headers or its body for so long is given up."""
    load_wait_seconds: float = 20.0
    """How long a request waits for its model to load before it gets a 503 with progress."""
    ping_seconds: float = 15.0
    """Silence on a stream after which a comment line keeps proxies from closing it."""
    send_timeout_seconds: float = 120.0
    """A client that reads nothing for so long is given up."""
    drain_seconds: float = 10.0
    """How long a stopping server lets running answers go on."""
