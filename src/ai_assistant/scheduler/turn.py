"""Whose turn it is to answer, and how that went."""

import msgspec

from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.scheduler.candidates import Candidate


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate whose turn comes, and under which conditions."""

    candidate: Candidate
    reason: str = ""
    fallback: bool = False
    why: str = ""
    """Why it is a fallback."""
    patience: float | None = None
    """Seconds for the first piece, beside the worker's own deadlines."""
    most_tokens: int | None = None
    """All choices together may have so many, because the request's limit pays for no more."""
    prompt_tokens: int = 0
    """About."""
    answer_tokens: int = 0
    """As many as are expected: no answer is cut shorter because of a budget."""
    expected_cost: float | None = None
    energy: float = 0.0
    """Dollars for a second of computing."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a turn went, for those who learn from it."""

    turn: Turn
    waited: float
    """Seconds until its first piece, or until it was given up."""
    last: TokenChunk | None = None
    """The piece with the usage; None: it never came."""
