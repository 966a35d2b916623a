"""Keys of one name are one tenant: what they use is counted once, so it must be limited alike."""

from collections.abc import Iterable

from ai_assistant.gateway.key_options import LIMITS
from ai_assistant.gateway.keys import Caller, read_key, secret_of
from ai_assistant.protocol.errors import InvalidRequest

_COUNTED = ("user", "team")
"""Options that say, beside the limits, on whose account something is booked."""


def difference(one: Caller, other: Caller) -> str:
    """The options in which two callers of one tenant are counted differently; empty: none."""
    found = [option for option in _COUNTED if getattr(one, option) != getattr(other, option)]
    found += [
        option
        for option, field in LIMITS.items()
        if getattr(one.limits, field) != getattr(other.limits, field)
    ]
    return ", ".join(found)


def check_names(lines: Iterable[str]) -> None:
    """Raises `InvalidRequest` for lines that cannot all be meant; repeats no secret."""
    by_secret: dict[str, Caller] = {}
    by_tenant: dict[str, Caller] = {}
    for line in lines:
        caller = read_key(line)
        if by_secret.setdefault(secret_of(line), caller) != caller:
            raise InvalidRequest(
                "One API key stands there twice, with different options: remove one of the lines."
            )
        if differs := difference(by_tenant.setdefault(caller.tenant, caller), caller):
            raise InvalidRequest(
                f"The keys named {caller.tenant} have one account, but differ in {differs}: give "
                "them the same, or each a name of its own."
            )
