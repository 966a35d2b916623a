"""A request's tokens on their way through the engine."""

import time
from array import array

import msgspec

from ai_assistant.engine.output import TextOutput
from ai_assistant.engine.sampling import Sampler
from ai_assistant.engine.speculation.drafter import Drafter
from ai_assistant.kvcache.blocks import State
from ai_assistant.kvcache.tiers import Restoring
from ai_assistant.protocol.requests import GenerateRequest


class Sequence:
    """One choice of one request: its tokens so far and how many of them are computed."""

    __slots__ = (
        "cached",
        "computed",
        "drafter",
        "first_token_at",
        "index",
        "limit",
        "output",
        "prompt_length",
        "queued_at",
        "request",
        "restoring",
        "sampler",
        "slot",
        "started_at",
        "state",
        "tokens",
        "virtual_start",
    )

    def __init__(
        self,
        request: GenerateRequest,
        index: int,
        tokens: "array[int]",
        limit: int,
        sampler: Sampler,
        output: TextOutput,
    ) -> None:
        """`limit` is the length at which it must end."""
        self.request = request
        self.index = index
        self.tokens = tokens
        self.prompt_length = len(tokens)
        self.limit = limit
        self.sampler = sampler
        self.output = output
        self.computed = 0
        self.cached = 0
        self.slot = -1
        """Its sequence id in the context while it runs."""
        self.state: State | None = None
        """Its saved KV cache while it is parked."""
        self.restoring: Restoring | None = None
        """Its known beginning while that is on its way into the context."""
        self.drafter: Drafter | None = None
        """Guesses its next tokens, once it generates."""
        self.virtual_start = 0.0
        """Its place among its class."""
        self.queued_at = time.perf_counter()
        self.started_at = 0.0
        self.first_token_at = 0.0

    @property
    def order(self) -> tuple[int, float, float, int]:
        """Who goes first: the smaller one. Parking does not change it."""
        return (self.request.priority, self.virtual_start, self.queued_at, self.index)

    @property
    def remaining(self) -> int:
        """Tokens that are not computed yet; 1 while it generates."""
        return len(self.tokens) - self.computed

    @property
    def generated(self) -> int:
        """Tokens of the answer so far."""
        return len(self.tokens) - self.prompt_length

    def stop_fetching(self) -> None:
        """What of its beginning is still on its way is not wanted."""
        if self.restoring is not None:
            self.restoring.cancel()
            self.restoring = None


def length_limit(request: GenerateRequest, prompt: int, context: int) -> int:
    """The length at which an answer to a prompt of so many tokens must end."""
    wanted = request.max_tokens
    return context if wanted is None else min(context, prompt + max(wanted, 1))


def replay(sequence: Sequence, answer: "array[int]") -> None:
    """Bring a new sequence to where its answer is; what it says up to there was sent already."""
    for token in answer:
        sequence.tokens.append(token)
        sequence.sampler.accept(token)
        sequence.output.push(token)
    sequence.output.forget()


class Prepared(msgspec.Struct, frozen=True):
    """A request that can run: its choices, at least one."""

    sequences: list[Sequence]
