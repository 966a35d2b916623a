"""Whether other machines could use this node."""

import ipaddress
from pathlib import Path

from ai_assistant.config.places import keys_file
from ai_assistant.config.settings import Settings


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def exposed_without_key(settings: Settings, file: Path | None = None) -> bool:
    """Whether other machines could use this node without a key: never allowed.

    `file`: where the settings are; keys may lie beside it.
    """
    if is_loopback(settings.server.host) or settings.server.api_keys:
        return False
    return file is None or not keys_file(file).exists()
