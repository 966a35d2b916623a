"""IP addresses that tell where somebody is. Looked for only where a rule names the label."""

import ipaddress
import re
from collections.abc import Iterator

from ai_assistant.policy.findings import Finding
from ai_assistant.policy.view import View

LABEL = "ip_address"
_V4 = re.compile(
    r"[0-9](?<![A-Za-z0-9_.].)[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?![A-Za-z0-9_]|\.[0-9])", re.DOTALL
)
_COLONS = re.compile(r":[0-9A-Fa-f]{0,4}:")
_V6 = re.compile(r"(?<![A-Za-z0-9_:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![A-Za-z0-9_:])")


def find(view: View) -> Iterator[Finding]:
    """Addresses other than loopback, unspecified and multicast ones."""
    for pattern in (_V4, _V6) if _COLONS.search(view.text) else (_V4,):
        for match in pattern.finditer(view.text):
            try:
                address = ipaddress.ip_address(match[0])
            except ValueError:
                continue
            if not (address.is_loopback or address.is_unspecified or address.is_multicast):
                yield Finding(*match.span(), LABEL, "ip_address", 0.9)
