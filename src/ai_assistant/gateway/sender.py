"""Who sends a job and how it came, as it is kept with the job: its lines carry it."""

import msgspec
from msgspec import structs

from ai_assistant.gateway.exchange import Exchange
from ai_assistant.gateway.keys import Caller
from ai_assistant.gateway.origin import origin_of
from ai_assistant.gateway.routing_wishes import wishes_of
from ai_assistant.jobs.ports import Call
from ai_assistant.protocol.requests import Bounds, Origin
from ai_assistant.protocol.routing import NO_WISHES, Wishes


class Sender(Caller, frozen=True, kw_only=True):
    """A caller at one request."""

    origin: Origin = Origin()
    wishes: Wishes = NO_WISHES
    """What the client wishes of whoever answers."""


def sender_of(exchange: Exchange) -> Sender:
    """Of the request that makes a job; call it after its body was read."""
    wishes = structs.replace(wishes_of(exchange) or NO_WISHES, explain="")
    return Sender(**structs.asdict(exchange.caller), origin=origin_of(exchange), wishes=wishes)


def write_owner(sender: Caller) -> str:
    """To be kept with the job."""
    return msgspec.json.encode(sender).decode()


def read_owner(text: str) -> Sender:
    """What `write_owner` wrote."""
    return msgspec.json.decode(text, type=Sender)


def origin_of_line(call: Call) -> Origin:
    """How a line came: as its batch did, with what stuck to that."""
    origin = read_owner(call.owner).origin
    labels = tuple(dict.fromkeys((*origin.bounds.labels, *call.labels)))
    return structs.replace(
        origin,
        bounds=Bounds(labels=labels, regions=origin.bounds.regions),
        job=call.batch,
        spill=call.spill,
    )
