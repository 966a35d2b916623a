"""An answer as it comes in, with a stopwatch."""

import time
from collections.abc import Callable
from typing import Any

from ai_assistant.cli.client import Delta
from ai_assistant.protocol.chunks import Usage


class Answer:
    """Collects the pieces of one answer; speeds are what this client saw."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._begun = clock()
        self._first: float | None = None
        self._last = self._begun
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self.model = ""
        self.finish: str | None = None
        self.usage: Usage | None = None
        self.engine_timings: dict[str, Any] | None = None

    def add(self, piece: Delta) -> None:
        """Take the next piece."""
        if piece.text or piece.reasoning:
            self._last = self._clock()
            self._first = self._last if self._first is None else self._first
        self._text.append(piece.text)
        self._reasoning.append(piece.reasoning)
        self.model = piece.model or self.model
        self.finish = piece.finish or self.finish
        self.usage = piece.usage or self.usage
        self.engine_timings = piece.timings or self.engine_timings

    @property
    def text(self) -> str:
        """What the model said."""
        return "".join(self._text)

    @property
    def reasoning(self) -> str:
        """What it thought before."""
        return "".join(self._reasoning)

    @property
    def first_token_seconds(self) -> float | None:
        """Time to first token (TTFT)."""
        return None if self._first is None else self._first - self._begun

    @property
    def seconds(self) -> float:
        """From the question to the last piece."""
        return self._last - self._begun

    @property
    def tokens_per_second(self) -> float | None:
        """Decode speed: tokens after the first one, by the time after the first one."""
        if self._first is None or self.usage is None or self.usage.completion_tokens < 2:
            return None
        spent = self._last - self._first
        return (self.usage.completion_tokens - 1) / spent if spent > 0 else None

    def timings(self) -> dict[str, Any]:
        """For a script: milliseconds and tokens per second."""
        first, rate = self.first_token_seconds, self.tokens_per_second
        return {
            "first_token_ms": None if first is None else round(first * 1000, 1),
            "total_ms": round(self.seconds * 1000, 1),
            "tokens_per_second": None if rate is None else round(rate, 1),
            "engine": self.engine_timings,
        }

    def summary(self) -> str:
        """One line for a person."""
        parts: list[str] = []
        if self.tokens_per_second:
            parts.append(f"{self.tokens_per_second:.1f} tokens/s")
        if self.first_token_seconds is not None:
            parts.append(f"first token after {self.first_token_seconds * 1000:.0f} ms")
        if self.usage:
            cached = f", {self.usage.cached_tokens} cached" if self.usage.cached_tokens else ""
            parts.append(f"{self.usage.prompt_tokens} tokens in{cached}")
            parts.append(f"{self.usage.completion_tokens} out")
        return " · ".join(parts)
