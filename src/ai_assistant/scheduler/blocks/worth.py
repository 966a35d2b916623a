"""Whether blocks come sooner over the network than computed: facts in, decision out."""

import msgspec

MOST_LATER = 0.03
"""Of the time that computing takes: so much may be lost by trying."""


class Prospect(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be carried, and how quick both ways are."""

    tokens: int
    block_tokens: int
    """Of a whole block; the last one may be shorter."""
    block_bytes: int
    prefill: float
    """Tokens a second at whoever takes over; 0: not measured."""
    link: float
    """Bytes a second to there; 0: not measured."""
    room: int
    """Bytes that it has for them."""

    @property
    def computing(self) -> float:
        """Seconds for all of them, computed."""
        return self.tokens / self.prefill if self.prefill else 0.0

    @property
    def block_seconds(self) -> float:
        """Seconds for a whole one, computed."""
        return self.block_tokens / self.prefill if self.prefill else 0.0

    @property
    def sending(self) -> float:
        """Seconds for all of them, sent; 0: not known."""
        size = self.tokens / self.block_tokens * self.block_bytes
        return size / self.link if self.link else 0.0


def refusal(prospect: Prospect) -> str:
    """Why it should not even be tried; empty: it should.

    A link that nobody has measured is tried: `patience` bounds what that costs.
    """
    if prospect.tokens <= 0:
        return "it has them all"
    if not prospect.prefill:
        return "how quickly it computes is not known yet"
    if prospect.block_bytes > prospect.room:
        return "it has no room for a block"
    if prospect.sending >= prospect.computing:
        return "sending is predicted to take longer"
    return ""


def patience(prospect: Prospect, arrived: int) -> float:
    """Seconds since the beginning until which the next block must have come.

    Whoever gives up then has lost no more than `MOST_LATER` of what computing all would have taken:
    the blocks that came need not be computed.
    """
    return arrived * prospect.block_seconds + MOST_LATER * prospect.computing
