"""What all answers share: usage, timings, and the book that says when an answer is whole."""

from typing import Any, Protocol

import msgspec

from ai_assistant.gateway.feed import Piece
from ai_assistant.gateway.routing_wishes import told_object
from ai_assistant.protocol.chunks import Timings, TokenLogprob, Usage
from ai_assistant.protocol.errors import AssistantError, EngineError, Reached

DONE = b"data: [DONE]\n\n"
SSE_COMMENT = b": ping\n\n"
EVENT_STREAM = b"text/event-stream; charset=utf-8"


class Head(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fields that every object of one answer repeats."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    service_tier: str | None = None
    """How urgently it was served, for those who asked."""


class Answer(Protocol):
    """An answer of one wire format, made of pieces."""

    media: bytes
    """The content type of its stream."""

    @property
    def ping(self) -> bytes:
        """What goes into its stream in a long silence, and means nothing."""
        ...

    def add(self, piece: Piece) -> None:
        """Take a piece into account."""
        ...

    def events(self, pieces: list[Piece]) -> bytes:
        """The pieces as server-sent events; each piece is added too."""
        ...

    def end(self) -> bytes:
        """The events after the last piece; raises `EngineError` if the answer is not whole."""
        ...

    def body(self) -> bytes:
        """The whole answer as one object; raises `EngineError` if it is not whole."""
        ...

    def failure(self, error: AssistantError, reached: Reached) -> bytes:
        """The events with which a stream ends that cannot go on, having come so far."""
        ...


class Book:
    """Which choices ended, and what they cost."""

    def __init__(self, *, requests: int, n: int) -> None:
        self._n = n
        self._open = set(range(requests * n))
        self._unpaid = set(range(requests))
        self._usages: list[Usage] = []
        self._timings: list[Timings] = []
        self._told: dict[str, Any] = {}

    def enter(self, piece: Piece) -> int:
        """Note a piece; gives the index of its choice in the whole answer."""
        request, chunk = piece
        index = request * self._n + chunk.index
        if index not in self._open or chunk.index >= self._n:
            raise EngineError("The engine went on after the end of a choice. Send it again.")
        if chunk.finish is not None:
            self._open.discard(index)
        if chunk.usage is not None:
            self._unpaid.discard(request)
            self._usages.append(chunk.usage)
            if chunk.served is not None:
                self._told = {"ai_assistant": told_object(chunk.served)}
        if chunk.timings is not None:
            self._timings.append(chunk.timings)
        return index

    def close(self) -> None:
        """Raise `EngineError` unless every choice ended and every request said its usage."""
        if self._open or self._unpaid:
            raise EngineError("The engine ended before the answer was whole. Send it again.")

    def told(self) -> dict[str, Any]:
        """Who answered, why and what it cost: for the last event and for the whole answer."""
        return self._told

    def used(self) -> Usage:
        """Tokens of all requests."""
        return Usage(
            prompt_tokens=sum(usage.prompt_tokens for usage in self._usages),
            completion_tokens=sum(usage.completion_tokens for usage in self._usages),
            cached_tokens=sum(usage.cached_tokens for usage in self._usages),
            reasoning_tokens=sum(usage.reasoning_tokens for usage in self._usages),
        )

    def spent(self) -> Timings:
        """Milliseconds of all requests."""
        return Timings(
            queue_ms=sum(timings.queue_ms for timings in self._timings),
            prefill_ms=sum(timings.prefill_ms for timings in self._timings),
            decode_ms=sum(timings.decode_ms for timings in self._timings),
        )

    def usage(self) -> dict[str, Any]:
        """OpenAI's `usage`, over all requests."""
        used = self.used()
        return {
            "prompt_tokens": used.prompt_tokens,
            "completion_tokens": used.completion_tokens,
            "total_tokens": used.prompt_tokens + used.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": used.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": used.reasoning_tokens},
        }

    def timings(self) -> dict[str, Any]:
        """llama.cpp's `timings`, and the time in the queue."""
        used, spent = self.used(), self.spent()
        computed = used.prompt_tokens - used.cached_tokens
        prefill, decode = spent.prefill_ms, spent.decode_ms
        return {
            "cache_n": used.cached_tokens,
            "prompt_n": computed,
            "prompt_ms": prefill,
            "prompt_per_token_ms": _ratio(prefill, computed),
            "prompt_per_second": _ratio(1000 * computed, prefill),
            "predicted_n": used.completion_tokens,
            "predicted_ms": decode,
            "predicted_per_token_ms": _ratio(decode, used.completion_tokens),
            "predicted_per_second": _ratio(1000 * used.completion_tokens, decode),
            "queue_ms": spent.queue_ms,
        }


def chat_logprobs(logprobs: tuple[TokenLogprob, ...]) -> list[dict[str, Any]]:
    """The `content` of `logprobs` in the chat shape."""
    return [
        {
            "token": chosen.token,
            "logprob": finite(chosen.logprob),
            "bytes": list(chosen.bytes),
            "top_logprobs": [
                {"token": top.token, "logprob": finite(top.logprob), "bytes": list(top.bytes)}
                for top in chosen.top
            ],
        }
        for chosen in logprobs
    ]


def called_with(text: str) -> dict[str, Any]:
    """A call's arguments as an object; what a call that was cut off holds is not JSON."""
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, Any])
    except msgspec.DecodeError:
        return {}


def finite(logprob: float) -> float:
    """JSON has no infinity: OpenAI's stand-in for impossible tokens."""
    return max(logprob, -9999.0)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
