"""Which model must make room for which: a pure decision from facts."""

from typing import Literal

import msgspec


class Resident(msgspec.Struct, frozen=True):
    """A model in memory."""

    id: str
    bytes: int
    in_use: int
    """Requests that need it now."""
    last_used: float


class Room(msgspec.Struct, frozen=True):
    """What loaded models may take together."""

    models: int
    bytes: int


class Decision(msgspec.Struct, frozen=True):
    """Load now, unload `victim` first, or wait until a model is no longer in use."""

    action: Literal["load", "evict", "wait"]
    victim: str | None = None


def decide(residents: list[Resident], need: int, room: Room) -> Decision:
    """What to do before a model of `need` bytes is loaded.

    The least recently used idle model goes first; a model in use never goes. A model that is
    larger than all the room is loaded alone: the engine says whether that works.
    """
    fits = len(residents) < room.models and sum(r.bytes for r in residents) + need <= room.bytes
    if fits or not residents:
        return Decision("load")
    idle = [resident for resident in residents if not resident.in_use]
    if not idle:
        return Decision("wait")
    return Decision("evict", min(idle, key=lambda resident: resident.last_used).id)
