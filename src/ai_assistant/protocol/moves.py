"""A model that is laid out anew while it answers: what is asked, how far it is, how it went."""

from typing import Literal

import msgspec

from ai_assistant.protocol.engine_plan import EnginePlan

How = Literal["auto", "beside", "instead"]
"""Where weights are laid out anew: a second engine beside the first until it has taken over, or one
after the other where memory is short. `auto` decides by what is free."""
Phase = Literal["loading", "handing over", "done"]


class MoveStep(msgspec.Struct, frozen=True, kw_only=True):
    """How far it is."""

    phase: Phase
    progress: float = 0.0
    """Of the load, 0 to 1."""


class MoveResult(msgspec.Struct, frozen=True, kw_only=True):
    """How it went. Times in seconds."""

    model: str
    how: Literal["in place", "beside", "instead", "elsewhere"]
    """`in place`: the weights stayed where they were. `elsewhere`: the answers alone went, to
    another node."""
    seconds: float
    """In all; the streams went on for most of it."""
    load_seconds: float = 0.0
    paused_seconds: float = 0.0
    """No stream said anything for so long; 0 where none ran."""
    sequences: int = 0
    """That were being answered or waited."""
    restored: int = 0
    """Of them with their KV cells; the others were computed again."""
    bytes: int = 0
    """Handed over through a file."""
    gone: int = 0
    """Of the sequences those that go on at another node."""


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """What became of running answers that were offered to another node."""

    gone: int
    """They go on there; this node only passes them on to their clients."""
    stayed: int
    """Nobody took them, or nobody could be asked: the node's log says why."""


class Want(msgspec.Struct, frozen=True, kw_only=True):
    """A plan that was decided for a model in use, and what there is for it."""

    plan: EnginePlan
    need: int
    """Bytes of memory that the model takes by it."""
    room: bool
    """Both engines have place at once."""
