"""What is known of a request: its labels, and the facts that the owner's rules may look at."""

from typing import Literal

import msgspec

from ai_assistant.protocol.egress import Departure, Place
from ai_assistant.protocol.offers import Offer
from ai_assistant.protocol.requests import Origin

Reach = Literal["process"] | Place
"""How far text goes: into our own engine, to another program here, the own network, a stranger."""

UNCHECKED = "unchecked"
"""A detector failed or took too long: nobody knows what the text holds."""
OPAQUE = "opaque"
"""Content that no detector can read: token ids, pictures."""
FAILED = frozenset({UNCHECKED, OPAQUE})


class Labels(msgspec.Struct, frozen=True):
    """Labels that stick to a conversation. Values: the caller keeps them and unites them.

    Those of `text` were found in the text and can be taken out of it; those of `context` come from
    the key, the model, the path, the client or the conversation and cannot.
    """

    text: frozenset[str] = frozenset()
    context: frozenset[str] = frozenset()

    def __or__(self, other: "Labels") -> "Labels":
        return Labels(self.text | other.text, self.context | other.context)

    @property
    def names(self) -> frozenset[str]:
        """All of them."""
        return self.text | self.context


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks and how. Empty texts are unknown and match no rule."""

    tenant: str = ""
    """The name of the key."""
    model: str = ""
    """As the client named it."""
    endpoint: str = ""
    """The path, such as `/v1/chat/completions`."""
    client: str = ""
    """As the client names itself, the `User-Agent`."""
    conversation: str = ""
    carried: Labels = Labels()
    """What stuck to the conversation, the job or the file before."""
    declared: frozenset[str] = frozenset()
    """Labels that the key or the request itself asks for."""
    regions: tuple[str, ...] = ()
    """The only ones whose clouds the key or the request lets its text reach; empty: any."""


def facts_of(request: msgspec.Struct) -> Facts:
    """What the request itself says of how it came."""
    origin: object = getattr(request, "origin", None)
    if not isinstance(origin, Origin):
        origin = Origin()
    return Facts(
        tenant=getattr(request, "tenant", ""),
        model=getattr(request, "model", ""),
        endpoint=origin.endpoint,
        client=origin.client,
        conversation=origin.conversation,
        declared=frozenset(origin.bounds.labels),
        regions=origin.bounds.regions,
    )


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """Where a worker computes."""

    name: str
    """The name that the owner gave the worker; our own engines have that of the model."""
    reach: Reach
    region: str = ""
    """As the owner declared it; empty: unknown."""


def destination_of(offer: Offer) -> Destination:
    """Where a worker's offer computes."""
    reach = _beyond(offer.place, offer.model)
    return Destination(name=offer.provider, reach=reach, region=offer.region)


def bound_for(departure: Departure) -> Destination:
    """Where a departure goes."""
    reach = _beyond(departure.place, departure.model)
    return Destination(name=departure.provider, reach=reach, region=departure.region)


def _beyond(place: Place, model: str) -> Place:
    """Ollama on this machine hands models named so to its maker's cloud."""
    return "cloud" if model.lower().endswith(("-cloud", ":cloud")) else place
