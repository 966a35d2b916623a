"""Laying a model out anew by itself: what was asked of it lately, what would be better, what was
done."""

from typing import Literal

import msgspec

from ai_assistant.protocol.moves import Want
from ai_assistant.protocol.status import PlanStatus

Way = Literal["in place", "beside", "instead"]


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """The shape of the work that a model had over the last minutes."""

    turns: float
    """Per second: answers that ended, and those that are being written."""
    prompt: float
    """Tokens of a prompt, on average."""
    known: float
    """Of these: cached from the turn before."""
    answer: float
    """Tokens of an answer."""
    streams: float
    """Answers that were written at once."""


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """Another plan beside the one that runs. Times in seconds, of a turn as it is asked for."""

    want: Want
    way: Way
    """How the model would get there."""
    told: PlanStatus
    """What is said of the plan, once it runs."""
    why: str
    """What has changed, in words."""
    now: float
    then: float
    error: float
    """Share by which such predictions may be wrong."""
    wanted: bool = False
    """For something else than speed: a move needs no gain."""
