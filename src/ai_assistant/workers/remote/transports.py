"""Which HTTP is spoken with a provider."""

import ssl
import urllib.request
from collections.abc import Mapping

from ai_assistant.workers.remote.address import Address
from ai_assistant.workers.remote.http1 import Http1Transport
from ai_assistant.workers.remote.http2 import Http2Transport
from ai_assistant.workers.remote.transport import Transport


def make_transport(
    address: Address,
    headers: Mapping[str, str],
    *,
    context: ssl.SSLContext | None,
    http2: bool | None,
) -> Transport:
    """Connections to one provider; `headers` go with every call.

    HTTP/2 is for encrypted connections, where it saves a handshake for each request beside
    others; without encryption, and through a proxy, HTTP/1.1 costs less and does the same.
    """
    plain = Http1Transport(address, headers, context=context)
    if http2 is False or not address.secure or (http2 is None and _is_proxied(address)):
        return plain
    return Http2Transport(address, headers, context=context, otherwise=plain)


def _is_proxied(address: Address) -> bool:
    if address.place != "cloud" or "https" not in urllib.request.getproxies():
        return False
    return not urllib.request.proxy_bypass(address.host)
