"""What the decision knows: the request as figures, and each candidate as figures."""

from typing import Literal

import msgspec

from ai_assistant.protocol.offers import Ability, Price

Standby = Literal["", "trial", "fallback", "away"]
"""Why somebody stands behind the others. `trial`: it failed lately and is being tried again.
`fallback`: the owner named it for when nobody else can. `away`: it needs a network that is not
there."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A request, as far as routing looks at it."""

    prompt_tokens: int
    answer_tokens: int
    """As many as are expected."""
    most_tokens: int | None = None
    """As many as may come; None: no limit."""
    abilities: frozenset[Ability] = frozenset()
    """That it needs."""
    draw: float = 0.0
    """0 to below 1, the same for all requests of a conversation: who of a weighted set."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How fast a worker is, by what was seen of it; None: not seen yet."""

    first: float | None = None
    """Seconds to the first token of a prompt that it knows already."""
    per_prompt_token: float | None = None
    """Seconds for each prompt token that it must compute."""
    tpot: float | None = None
    """Seconds for each further token of an answer."""
    spread: float = 0.0
    """Seconds that one of ten first tokens comes later than usual."""
    load: float | None = None
    """Seconds that loading took."""


class CandidateFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One who may answer, as it is now."""

    name: str
    place: Literal["process", "machine", "lan", "cloud"]
    region: str = ""
    abilities: frozenset[Ability]
    context: int | None = None
    """Tokens of prompt and answer; None: unknown."""
    price: Price | None = None
    """None: unknown."""
    energy: float = 0.0
    """Dollars for a second of computing, on the owner's machines."""
    quality: float
    """0 to 100."""
    quality_guessed: bool = False
    weight: float = 0.0
    """Share of a weighted set."""
    standby: Standby = ""
    rest: str = ""
    """Why it cannot be asked now: it rests, or its key is refused."""
    kept: str = ""
    """Why the rules keep the text from there."""
    redacted: bool = False
    """The rules let the text go there with placeholders only."""
    queue: float = 0.0
    """Seconds until it begins."""
    load: float = 0.0
    """Seconds until it is in memory; 0: it is there."""
    pace: Pace = Pace()
    guess: Pace
    """Where nothing was seen yet."""
    cached_tokens: int = 0
    """Of the prompt, as far as it is known to hold them."""
    error_rate: float = 0.0
    thinking: int = 0
    """Tokens that all answers together may take there beyond their limit, and that are paid for."""
