"""Which HTTP is spoken with a provider."""

import ssl
from collections.abc import Mapping

from ai_assistant.workers.remote.address import Address
from ai_assistant.workers.remote.http1 import Http1Transport
from ai_assistant.workers.remote.transport import Transport


def make_transport(
    address: Address,
    headers: Mapping[str, str],
    *,
    context: ssl.SSLContext | None,
    http2: bool | None,
) -> Transport:
    """Connections to one provider; `headers` go with every call."""
    return Http1Transport(address, headers, context=context)
