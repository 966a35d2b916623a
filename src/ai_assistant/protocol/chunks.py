"""What comes back: pieces of an answer, as the value of the call that asked."""

from typing import Literal

import msgspec

from ai_assistant.protocol.routing import Served
from ai_assistant.protocol.spelling import Spelled

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class TopLogprob(msgspec.Struct, frozen=True, array_like=True):
    """A candidate: its text, its bytes and its natural-log probability."""

    token: str
    bytes: bytes
    logprob: float


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True):
    """The chosen token and the most likely candidates, best first."""

    token: str
    bytes: bytes
    logprob: float
    top: tuple[TopLogprob, ...] = ()


class ToolCallDelta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of the `index`-th call; id and name come with its first piece only."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one request. `cached_tokens` of the prompt were not computed again."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    """Counted from the text, because the provider did not say."""


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time of one request went, in the engine, in milliseconds."""

    queue_ms: float
    prefill_ms: float
    decode_ms: float


class TokenChunk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of choice `index`.

    The last piece of a choice carries `finish`; the last piece of the request also `usage`.
    """

    index: int = 0
    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish: FinishReason | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    stop: str | None = None
    """With `finish`: the stop string that was found, if one was."""
    served: Served | None = None
    """Who answers: in the first piece and in the last; put in by the scheduler."""
    spelled: Spelled | None = None
    """The tokens behind the text so far, those of earlier pieces left out; for who asked for it."""
    leaving: str | None = None
    """Whoever writes this wants to hand the answer on, to the provider of that name, empty: to any.
    It goes on itself where nobody takes it. Such a piece has no text."""
    ticket: str = ""
    """With `leaving`: for it the KV blocks of the answer are given out, once. A secret."""


class Tokenization(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A prompt as the model reads it: the text that its template made, and the token ids."""

    text: str
    tokens: tuple[int, ...]
    pieces: tuple[bytes, ...] = ()


class Embeddings(msgspec.Struct, frozen=True, kw_only=True):
    """One vector per input, in the inputs' order: float32, little-endian, unit length.

    Scores of a reranking model are vectors of one number, of any length.
    """

    vectors: tuple[bytes, ...]
    dimensions: int
    prompt_tokens: int
