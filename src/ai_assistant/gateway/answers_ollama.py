"""Chunks to Ollama's objects, whole or a line each. Durations are nanoseconds."""

import time
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from ai_assistant.gateway.answers import Book, called_with, chat_logprobs
from ai_assistant.gateway.error_shapes import ollama_error
from ai_assistant.gateway.feed import Piece
from ai_assistant.gateway.record import Record
from ai_assistant.protocol.chunks import FinishReason, TokenChunk, TokenLogprob, ToolCallDelta
from ai_assistant.protocol.errors import AssistantError, Reached

NDJSON = b"application/x-ndjson"

_encode = msgspec.json.Encoder().encode


def now() -> str:
    """Ollama's `created_at`."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def nanoseconds(seconds: float) -> int:
    """A duration as Ollama tells it."""
    return max(int(seconds * 1e9), 0)


class OllamaAnswer:
    """The answer to one chat, or to one prompt."""

    media = NDJSON

    def __init__(self, model: str, record: Record, *, kind: Literal["chat", "generate"]) -> None:
        self._model = model
        self._record = record
        self._chat = kind == "chat"
        self._book = Book(requests=1, n=1)
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        self._calls: list[ToolCallDelta] = []
        """A call is told when it is whole: Ollama's arguments are an object."""
        self._whole_calls: list[dict[str, Any]] = []
        self._finish: FinishReason | None = None

    @property
    def ping(self) -> bytes:
        """A line that adds nothing."""
        return self._line(self._said("", ""))

    def add(self, piece: Piece) -> None:
        """Take a piece into account."""
        self._take(piece)

    def events(self, pieces: list[Piece]) -> bytes:
        """The pieces as lines; those without words give none."""
        return b"".join([self._event(piece) for piece in pieces])

    def end(self) -> bytes:
        """The last line, with what it cost."""
        self._book.close()
        rest = self._line(self._said("", "", self._end_call())) if self._calls else b""
        return rest + self._line({**self._said("", ""), **self._totals()})

    def body(self) -> bytes:
        """The whole answer."""
        self._book.close()
        self._end_call()
        said = self._said("".join(self._text), "".join(self._thinking), self._whole_calls)
        logprobs = {"logprobs": chat_logprobs(tuple(self._logprobs))} if self._logprobs else {}
        return _encode({**self._head(), **said, **logprobs, **self._totals()})

    def failure(self, error: AssistantError, reached: Reached) -> bytes:
        """A line that names the error."""
        return ollama_error(error, reached) + b"\n"

    def loaded(self) -> bytes:
        """The whole answer to an empty request: the model is in memory."""
        seconds = time.perf_counter() - self._record.began
        spent = {"total_duration": nanoseconds(seconds), "load_duration": nanoseconds(seconds)}
        done = {"done": True, "done_reason": "load"}
        return _encode({**self._head(), **self._said("", ""), **done, **spent})

    def _take(self, piece: Piece) -> list[dict[str, Any]]:
        """Note a piece; the calls that became whole with it."""
        self._book.enter(piece)
        chunk = piece.chunk
        self._text.append(chunk.text)
        self._thinking.append(chunk.reasoning)
        self._logprobs += chunk.logprobs
        self._finish = chunk.finish or self._finish
        ended: list[dict[str, Any]] = []
        for call in chunk.tool_calls:
            if self._calls and self._calls[0].index != call.index:
                ended += self._end_call()
            self._calls.append(call)
        return ended

    def _end_call(self) -> list[dict[str, Any]]:
        if not self._calls:
            return []
        first = self._calls[0]
        text = "".join(call.arguments for call in self._calls)
        self._calls = []
        function = {"index": first.index, "name": first.name or "", "arguments": called_with(text)}
        call = {"id": first.id, "function": function}
        self._whole_calls.append(call)
        return [call]

    def _event(self, piece: Piece) -> bytes:
        chunk = piece.chunk
        calls = self._take(piece)
        if not (chunk.text or chunk.reasoning or calls or chunk.logprobs):
            return b""
        return self._line({**self._said(chunk.text, chunk.reasoning, calls), **_logprobs(chunk)})

    def _head(self) -> dict[str, Any]:
        return {"model": self._model, "created_at": now()}

    def _line(self, fields: dict[str, Any]) -> bytes:
        return _encode({**self._head(), "done": False, **fields}) + b"\n"

    def _said(
        self, text: str, thinking: str, calls: list[dict[str, Any]] | None = None
    ) -> dict[str, Any]:
        thought = {"thinking": thinking} if thinking else {}
        if not self._chat:
            return {"response": text, **thought}
        message: dict[str, Any] = {"role": "assistant", "content": text, **thought}
        return {"message": message | ({"tool_calls": calls} if calls else {})}

    def _totals(self) -> dict[str, Any]:
        used, spent = self._book.used(), self._book.spent()
        total = time.perf_counter() - self._record.began
        engine = (spent.queue_ms + spent.prefill_ms + spent.decode_ms) / 1000
        return {
            "done": True,
            "done_reason": "length" if self._finish == "length" else "stop",
            "total_duration": nanoseconds(total),
            # What went by outside of the engine: most of all, loading the model.
            "load_duration": nanoseconds(total - engine),
            "prompt_eval_count": used.prompt_tokens,
            "prompt_eval_duration": nanoseconds(spent.prefill_ms / 1000),
            "eval_count": used.completion_tokens,
            "eval_duration": nanoseconds(spent.decode_ms / 1000),
            **self._book.told(),
        }


def _logprobs(chunk: TokenChunk) -> dict[str, Any]:
    return {"logprobs": chat_logprobs(chunk.logprobs)} if chunk.logprobs else {}
