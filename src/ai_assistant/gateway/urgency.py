"""How urgent a request is: in our words, in vLLM's numbers, in OpenAI's service tiers."""

from ai_assistant.gateway.errors import invalid
from ai_assistant.gateway.exchange import Exchange
from ai_assistant.gateway.keys import CLASSES, Standing
from ai_assistant.gateway.wire_common import CommonFields
from ai_assistant.protocol.requests import Priority

HEADER = "X-Priority"
_TIERS: dict[str, Priority | None] = {
    "auto": None,
    "default": Priority.NORMAL,
    "flex": Priority.BATCH,
    "priority": Priority.INTERACTIVE,
    "fast": Priority.INTERACTIVE,  # OpenAI's other name for it.
    "scale": Priority.NORMAL,  # Capacity that was bought in advance: there is none to buy here.
}
_SERVED = {
    Priority.INTERACTIVE: "priority",
    Priority.NORMAL: "default",
    Priority.BATCH: "flex",
}


def standing_of(exchange: Exchange, wire: CommonFields) -> Standing:
    """Whose request it is and how urgent: as asked, as far as the key allows."""
    return standing(exchange, wire.priority, wire.service_tier)


def standing(
    exchange: Exchange, priority: str | int | None = None, tier: str | None = None
) -> Standing:
    """The same of two fields: `priority` goes before the tier, the body before the header."""
    said = (
        _by_class("priority", priority),
        _by_tier(tier),
        _by_header(exchange.header(HEADER.lower().encode())),
    )
    return exchange.caller.standing(next((one for one in said if one is not None), None))


def served_tier(wire: CommonFields, standing: Standing) -> str | None:
    """OpenAI's `service_tier` of the answer: what was given, for those who asked."""
    return None if wire.service_tier is None else _SERVED[standing.priority]


def _by_class(param: str, said: str | int | None) -> Priority | None:
    """By name, or as vLLM's number: lower goes first."""
    if said is None:
        return None
    if isinstance(said, int):
        return Priority(Priority.NORMAL + (said > 0) - (said < 0))
    if said not in CLASSES:
        names = ", ".join(CLASSES)
        raise invalid(param, f"expected one of {names}, or a whole number (lower goes first)")
    return CLASSES[said]


def _by_tier(said: str | None) -> Priority | None:
    if said is not None and said not in _TIERS:
        raise invalid("service_tier", f"expected one of {', '.join(_TIERS)}")
    return None if said is None else _TIERS[said]


def _by_header(said: str | None) -> Priority | None:
    try:
        return _by_class(HEADER, None if said is None else int(said))
    except ValueError:
        return _by_class(HEADER, said)
