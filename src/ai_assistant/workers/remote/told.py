"""What was handed on of one answer: for errors, for figures, for a continuation."""

import msgspec

from ai_assistant.protocol.chunks import Timings, TokenChunk
from ai_assistant.protocol.errors import Reached


class Told:
    """What was handed on of one answer, and when."""

    def __init__(self) -> None:
        self.pieces = 0
        self.first = 0.0
        self._last = 0.0
        self._characters = 0
        self._calls = 0
        self._tokens = 0

    def note(self, chunk: TokenChunk, now: float) -> None:
        """A piece is handed on."""
        if chunk.finish is None or not self.pieces:
            self.pieces += 1
            self._last = now
            if self.pieces == 1:
                self.first = now
        self._characters += len(chunk.text) + len(chunk.reasoning)
        self._calls += len(chunk.tool_calls)
        if chunk.finish is None:
            self._tokens += _tokens(chunk)
        if chunk.usage is not None and not chunk.usage.estimated:
            self._tokens = max(self._tokens, chunk.usage.completion_tokens)

    def reached(self) -> Reached:
        """How far the answer got."""
        return Reached(characters=self._characters, tokens=self._tokens, tool_calls=self._calls)

    def seconds_per_token(self) -> float | None:
        """From the first token to the last; a server may send several in one piece."""
        if self._tokens < 2 or self._last <= self.first:
            return None
        return (self._last - self.first) / (self._tokens - 1)

    def timed(self, chunk: TokenChunk, began: float) -> TokenChunk:
        """The last piece, with where the time went as seen from here."""
        timings = Timings(
            queue_ms=0.0,
            prefill_ms=(self.first - began) * 1000,
            decode_ms=(self._last - self.first) * 1000,
        )
        return msgspec.structs.replace(chunk, timings=timings)


def _tokens(chunk: TokenChunk) -> int:
    """As exactly as the piece tells."""
    if chunk.leaving is not None:
        return 0
    return len(chunk.spelled.cuts) if chunk.spelled else len(chunk.logprobs) or 1
