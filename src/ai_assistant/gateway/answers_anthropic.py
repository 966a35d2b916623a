"""Chunks to Anthropic's message, whole or as its events."""

from typing import Any, Literal

import msgspec

from ai_assistant.gateway.answers import EVENT_STREAM, Book, called_with
from ai_assistant.gateway.error_shapes import anthropic_error
from ai_assistant.gateway.feed import Piece
from ai_assistant.protocol.chunks import TokenChunk, ToolCallDelta
from ai_assistant.protocol.errors import AssistantError, Reached

SIGNATURE = "ai-assistant"
"""Stands where Anthropic signs its thoughts: clients drop those without, we check none."""
_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}

_encode = msgspec.json.Encoder().encode


class _Block(msgspec.Struct):
    """A block of the answer, as it grows."""

    kind: Literal["text", "thinking", "tool_use"]
    call: int = -1
    id: str = ""
    name: str = ""
    parts: list[str] = []

    def start(self) -> dict[str, Any]:
        """As it stands in `content_block_start`."""
        if self.kind == "text":
            return {"type": "text", "text": ""}
        if self.kind == "thinking":
            return {"type": "thinking", "thinking": "", "signature": ""}
        return {"type": "tool_use", "id": self.id, "name": self.name, "input": {}}

    def whole(self) -> dict[str, Any]:
        """As it stands in the message."""
        text = "".join(self.parts)
        if self.kind == "text":
            return {"type": "text", "text": text}
        if self.kind == "thinking":
            return {"type": "thinking", "thinking": text, "signature": SIGNATURE}
        return self.start() | {"input": called_with(text)}

    def delta(self, text: str) -> dict[str, Any]:
        """As it stands in `content_block_delta`."""
        if self.kind == "text":
            return {"type": "text_delta", "text": text}
        if self.kind == "thinking":
            return {"type": "thinking_delta", "thinking": text}
        return {"type": "input_json_delta", "partial_json": text}


class AnthropicAnswer:
    """The answer to one request for a message."""

    media = EVENT_STREAM
    ping = b'event: ping\ndata: {"type":"ping"}\n\n'

    def __init__(self, request_id: str, model: str, *, max_tokens: int) -> None:
        self._request_id = request_id
        self._model = model
        self._max_tokens = max_tokens
        self._book = Book(requests=1, n=1)
        self._blocks: list[_Block] = []
        self._open = False
        """The last block may grow."""
        self._greeted = False
        self._last: TokenChunk | None = None
        self._events: list[bytes] = []

    def add(self, piece: Piece) -> None:
        """Take a piece into account."""
        self._book.enter(piece)
        chunk = piece.chunk
        if chunk.finish is not None:
            self._last = chunk
        if not self._max_tokens:
            return
        if chunk.reasoning:
            self._grow(self._block("thinking"), chunk.reasoning)
        if chunk.text:
            self._grow(self._block("text"), chunk.text)
        for call in chunk.tool_calls:
            self._grow(self._call(call), call.arguments)

    def events(self, pieces: list[Piece]) -> bytes:
        """The pieces as events."""
        if not self._greeted:
            self._greeted = True
            message = self._message([], stop_reason=None, usage=_usage(self._book))
            self._tell("message_start", message=message)
        for piece in pieces:
            self.add(piece)
        return self._told()

    def end(self) -> bytes:
        """The end of the last block, the usage and the end of the message."""
        self._book.close()
        self._close()
        reason = {"stop_reason": self._reason(), "stop_sequence": self._stop()}
        self._tell("message_delta", delta=reason, usage=self._usage(), **self._book.told())
        self._tell("message_stop")
        return self._told()

    def body(self) -> bytes:
        """The message."""
        self._book.close()
        blocks = [block.whole() for block in self._blocks]
        message = self._message(blocks, stop_reason=self._reason(), usage=self._usage())
        return _encode(message | self._book.told())

    def failure(self, error: AssistantError, reached: Reached) -> bytes:
        """The event `error`."""
        told = anthropic_error(error, self._request_id, reached)
        return b"event: error\ndata: " + _encode(told) + b"\n\n"

    def _message(
        self, blocks: list[dict[str, Any]], *, stop_reason: str | None, usage: dict[str, Any]
    ) -> dict[str, Any]:
        return {
            "id": f"msg_{self._request_id}",
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": blocks,
            "stop_reason": stop_reason,
            "stop_sequence": self._stop(),
            "usage": usage,
        }

    # Blocks.

    def _block(self, kind: Literal["text", "thinking"]) -> _Block:
        """The open block if it is of that kind, else a new one."""
        if not (self._open and self._blocks[-1].kind == kind):
            self._begin(_Block(kind))
        return self._blocks[-1]

    def _call(self, call: ToolCallDelta) -> _Block:
        if not (self._open and self._blocks[-1].call == call.index):
            self._begin(_Block("tool_use", call.index, call.id or "", call.name or ""))
        return self._blocks[-1]

    def _begin(self, block: _Block) -> None:
        self._close()
        self._blocks.append(block)
        self._open = True
        self._tell_of_block("content_block_start", content_block=block.start())

    def _grow(self, block: _Block, text: str) -> None:
        block.parts.append(text)
        self._tell_of_block("content_block_delta", delta=block.delta(text))

    def _close(self) -> None:
        if not self._open:
            return
        self._open = False
        if self._blocks[-1].kind == "thinking":
            signature = {"type": "signature_delta", "signature": SIGNATURE}
            self._tell_of_block("content_block_delta", delta=signature)
        self._tell_of_block("content_block_stop")

    # Events.

    def _tell_of_block(self, kind: str, **fields: Any) -> None:
        self._tell(kind, index=len(self._blocks) - 1, **fields)

    def _tell(self, kind: str, **fields: Any) -> None:
        if self._greeted:
            data = _encode({"type": kind, **fields})
            self._events.append(b"event: %s\ndata: %s\n\n" % (kind.encode(), data))

    def _told(self) -> bytes:
        events = b"".join(self._events)
        self._events.clear()
        return events

    # The end.

    def _stop(self) -> str | None:
        return self._last.stop if self._last else None

    def _reason(self) -> str:
        if self._stop() is not None:
            return "stop_sequence"
        finish = (self._last.finish if self._last else None) or "stop"
        full = finish == "length" and self._book.used().completion_tokens < self._max_tokens
        return "model_context_window_exceeded" if full else _REASONS[finish]

    def _usage(self) -> dict[str, Any]:
        usage = _usage(self._book)
        return usage if self._max_tokens else usage | {"output_tokens": 0}


def _usage(book: Book) -> dict[str, Any]:
    """Anthropic counts the cached tokens beside the others, not among them."""
    used = book.used()
    return {
        "input_tokens": used.prompt_tokens - used.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": used.cached_tokens,
        "output_tokens": used.completion_tokens,
    }
