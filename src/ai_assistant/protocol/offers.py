"""What is known of a worker elsewhere: what it offers, what it costs, how it did."""

from typing import Literal

import msgspec

from ai_assistant.protocol.chunks import Usage
from ai_assistant.protocol.egress import Place

Ability = Literal["chat", "text", "tools", "json", "grammar", "logprobs", "vision", "embeddings"]
WorkerState = Literal["ok", "cooling", "probing", "refused"]
"""`cooling`: leave it alone for a while. `probing`: one request may try it. `refused`: the key is
not accepted, and nothing but another key will help."""

_MILLION = 1_000_000


class Price(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """US dollars per million tokens."""

    input: float
    output: float
    cached_input: float | None = None
    """Of prompt tokens that the provider knew already; None: the same as `input`."""

    def of(self, usage: Usage) -> float:
        """Dollars for one request."""
        cached = self.input if self.cached_input is None else self.cached_input
        fresh = usage.prompt_tokens - usage.cached_tokens
        dollars = fresh * self.input + usage.cached_tokens * cached
        return (dollars + usage.completion_tokens * self.output) / _MILLION


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """One model at one provider. Nothing of it changes while the node runs."""

    provider: str
    kind: str
    model: str
    """Its name at the provider."""
    names: tuple[str, ...]
    """The names under which clients may ask for it here."""
    place: Place
    region: str
    host: str
    address: str = ""
    """Of its server, up to the port."""
    abilities: frozenset[Ability]
    context: int | None = None
    """Tokens of prompt and answer; None: unknown."""
    price: Price | None = None
    """None: unknown. What computes on the owner's own machines costs 0."""
    continues: bool = False
    """It can go on in the middle of an answer, as far as is declared."""


class Quantiles(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. `count` is how many recent observations stand behind them, old ones fading."""

    count: float = 0.0
    p50: float | None = None
    p90: float | None = None
    p99: float | None = None


class WorkerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A worker as its real traffic shows it; recent requests weigh more."""

    state: WorkerState = "ok"
    again_in: float = 0.0
    """Seconds until it may be tried again, while it is cooling."""
    in_flight: int = 0
    """Requests of this node."""
    running: int = 0
    waiting: int = 0
    slots: int = 0
    """What another node tells of its engine, all its clients together; no slots: it did not."""
    ttft: Quantiles = Quantiles()
    """Time to first token."""
    tpot: Quantiles = Quantiles()
    """Time per output token after the first."""
    error_rate: float = 0.0
    """Share of recent requests that failed through the worker's fault."""
    requests: int = 0
    errors: int = 0
    last_error: str | None = None
    """Its code."""
