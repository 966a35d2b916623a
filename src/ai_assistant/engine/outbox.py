"""Pieces of answers on their way to the node, up to 20 milliseconds of them per frame.

A first token and an end go at once. In between, fast models fill a frame with several tokens:
fifty pieces a second are more than an eye can follow, and every piece costs time of the
processors that the model needs.
"""

import time

import msgspec

from ai_assistant.engine.channel import Reports
from ai_assistant.engine.sequence import Sequence
from ai_assistant.protocol.chunks import FinishReason, Timings, TokenChunk, Usage
from ai_assistant.protocol.frames import Chunks

FLUSH_SECONDS = 0.02


class Tally(msgspec.Struct, kw_only=True):
    """A request that has not ended: what of it is left, what it has used. Times in seconds."""

    left: int
    prompt: int
    cached: int = 0
    completion: int = 0
    reasoning: int = 0
    queue: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0


class Outbox:
    """Collects what changed and sends it."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._open: dict[str, Tally] = {}
        self._changed: dict[int, Sequence] = {}
        self._chunks: list[tuple[str, TokenChunk]] = []
        self._sent_at = 0.0
        self._urgent = False

    def open(self, sequences: list[Sequence]) -> None:
        """A request is accepted."""
        first = sequences[0]
        self._open[first.request.request_id] = Tally(
            left=len(sequences),
            # What was said elsewhere is prompt here.
            prompt=first.prompt_length + first.generated,
            completion=-first.generated,
        )

    def tally(self, request_id: str) -> Tally:
        """What a request has used so far."""
        return self._open[request_id]

    def reopen(self, request_id: str, tally: Tally) -> None:
        """A request goes on here that began elsewhere."""
        self._open[request_id] = tally

    def changed(self, sequence: Sequence) -> None:
        """It has a new token."""
        self._changed[id(sequence)] = sequence
        if sequence.generated == 1:
            self._urgent = True

    def finish(self, sequence: Sequence, reason: FinishReason) -> None:
        """It has ended."""
        self._changed.pop(id(sequence), None)
        output = sequence.output
        output.close()
        request_id = sequence.request.request_id
        entry = self._open[request_id]
        self._count(entry, sequence)
        entry.left -= 1
        chunk = output.take(
            sequence.index,
            finish=output.reason(reason),
            usage=None if entry.left else _usage(entry),
            timings=None if entry.left else _timings(entry),
        )
        if not entry.left:
            del self._open[request_id]
        self._chunks.append((request_id, chunk))
        self._urgent = True

    def close(self, request_id: str) -> None:
        """Nobody wants more of this request."""
        self._open.pop(request_id, None)
        self._changed = {
            key: s for key, s in self._changed.items() if s.request.request_id != request_id
        }
        self._chunks = [entry for entry in self._chunks if entry[0] != request_id]

    def tick(self) -> None:
        """Send if it is time."""
        if self._urgent or time.perf_counter() - self._sent_at >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send all that is there."""
        for sequence in self._changed.values():
            if sequence.output.has_news:
                chunk = sequence.output.take(sequence.index)
                self._chunks.append((sequence.request.request_id, chunk))
        self._changed.clear()
        if self._chunks:
            self._reports.send(Chunks(self._chunks))
            self._chunks = []
        self._sent_at = time.perf_counter()
        self._urgent = False

    def _count(self, entry: Tally, sequence: Sequence) -> None:
        now = time.perf_counter()
        entry.completion += sequence.generated
        entry.reasoning += sequence.output.reasoning_tokens
        if sequence.index == 0:
            entry.cached = sequence.cached
            entry.queue = sequence.started_at - sequence.queued_at
            entry.prefill = sequence.first_token_at - sequence.started_at
        entry.decode = max(entry.decode, now - sequence.first_token_at)


def _usage(entry: Tally) -> Usage:
    return Usage(
        prompt_tokens=entry.prompt,
        completion_tokens=entry.completion,
        cached_tokens=entry.cached,
        reasoning_tokens=entry.reasoning,
    )


def _timings(entry: Tally) -> Timings:
    return Timings(
        queue_ms=1000 * entry.queue,
        prefill_ms=1000 * entry.prefill,
        decode_ms=1000 * entry.decode,
    )
