"""Chunks to OpenAI's `response` object, whole or as its numbered events."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from ai_assistant.gateway.answers import EVENT_STREAM, SSE_COMMENT, Book
from ai_assistant.gateway.answers_responses_items import Event, OutputItem
from ai_assistant.gateway.error_shapes import broken_off
from ai_assistant.gateway.feed import Piece
from ai_assistant.protocol.chunks import FinishReason, ToolCallDelta
from ai_assistant.protocol.errors import AssistantError, Reached
from ai_assistant.protocol.requests import ChatMessage, ToolCall

_encode = msgspec.json.Encoder().encode
_CUT = {"length": "max_output_tokens", "content_filter": "content_filter"}

Keep = Callable[[dict[str, Any], ChatMessage], None]
"""Takes the response and what was said, when it is whole."""


class ResponsesAnswer:
    """The answer to one Responses request."""

    media = EVENT_STREAM
    ping = SSE_COMMENT

    def __init__(
        self, request_id: str, fixed: dict[str, Any], *, custom: frozenset[str], keep: Keep
    ) -> None:
        """`fixed`: the fields of the response that are known before; `custom`: the names of
        the tools whose calls are free text."""
        self._request_id = request_id
        self._fixed = fixed
        self._custom = custom
        self._keep = keep
        self._book = Book(requests=1, n=1)
        self._items: list[OutputItem] = []
        self._call = -1
        """The index of the call that is the last item, if it is one."""
        self._open = False
        self._finish: FinishReason | None = None
        self._number = 0
        self._greeted = False
        self._events: list[bytes] = []

    def add(self, piece: Piece) -> None:
        """Take a piece into account."""
        self._book.enter(piece)
        chunk = piece.chunk
        self._finish = chunk.finish or self._finish
        if chunk.reasoning:
            self._tell_of_item(self._item("reasoning").grow(chunk.reasoning))
        if chunk.text:
            self._tell_of_item(self._item("message").grow(chunk.text, chunk.logprobs))
        for call in chunk.tool_calls:
            item = self._called(call)
            if call.arguments:
                self._tell_of_item(item.grow(call.arguments))

    def events(self, pieces: list[Piece]) -> bytes:
        """The pieces as events."""
        if not self._greeted:
            self._greeted = True
            begun = self._response("in_progress")
            self._tell("created", response=begun)
            self._tell("in_progress", response=begun)
        for piece in pieces:
            self.add(piece)
        return self._told()

    def end(self) -> bytes:
        """The end of the last item and of the response."""
        response = self._whole()
        self._tell(response["status"], response=response)
        return self._told()

    def body(self) -> bytes:
        """The response."""
        return _encode(self._whole())

    def failure(self, error: AssistantError, reached: Reached) -> bytes:
        """The event `response.failed`."""
        self._greeted = True
        details = {"code": error.code, **broken_off(error, reached)}
        self._tell("failed", response=self._response("failed") | {"error": details})
        return self._told()

    def _whole(self) -> dict[str, Any]:
        self._book.close()
        cut = _CUT.get(self._finish or "")
        status = "incomplete" if cut else "completed"
        self._close(status)
        response = self._response(status)
        if cut:
            response |= {"incomplete_details": {"reason": cut}}
        response |= {"completed_at": int(time.time()), "usage": self._usage()}
        response |= self._book.told()
        self._keep(response, self._said())
        return response

    def _response(self, status: str) -> dict[str, Any]:
        output = [item.whole() for item in self._items]
        return {**self._fixed, "status": status, "output": output}

    def _said(self) -> ChatMessage:
        """The answer as a turn of the conversation."""
        texts = dict.fromkeys(("message", "reasoning"), "")
        for item in self._items:
            if item.kind in texts:
                texts[item.kind] += item.text
        calls = tuple(
            ToolCall(id=item.call_id, name=item.name, arguments=item.text or "{}")
            for item in self._items
            if item.kind in ("function_call", "custom_tool_call")
        )
        return ChatMessage(
            role="assistant",
            content=texts["message"],
            reasoning=texts["reasoning"] or None,
            tool_calls=calls,
        )

    # Items.

    def _item(self, kind: Any) -> OutputItem:
        """The open item if it is of that kind, else a new one."""
        if not (self._open and self._items[-1].kind == kind):
            self._begin(OutputItem(kind, self._key()))
        return self._items[-1]

    def _called(self, call: ToolCallDelta) -> OutputItem:
        if not (self._open and self._call == call.index):
            name = call.name or ""
            kind = "custom_tool_call" if name in self._custom else "function_call"
            key = self._key()
            self._begin(OutputItem(kind, key, call_id=call.id or f"call_{key}", name=name))
            self._call = call.index
        return self._items[-1]

    def _key(self) -> str:
        return f"{self._request_id}_{len(self._items)}"

    def _begin(self, item: OutputItem) -> None:
        self._close("completed")
        self._items.append(item)
        self._open, self._call = True, -1
        self._tell_of_item(item.begin())

    def _close(self, status: str) -> None:
        if self._open:
            self._open = False
            self._tell_of_item(self._items[-1].end(status))

    # Events.

    def _tell_of_item(self, events: Iterable[Event]) -> None:
        place = {"item_id": self._items[-1].id, "output_index": len(self._items) - 1}
        for kind, fields in events:
            if kind.startswith("output_item"):
                self._tell(kind, output_index=place["output_index"], **fields)
            else:
                self._tell(kind, **place, **fields)

    def _tell(self, kind: str, **fields: Any) -> None:
        if not self._greeted:
            return
        name = f"response.{kind}"
        data = _encode({"type": name, "sequence_number": self._number, **fields})
        self._number += 1
        self._events.append(b"event: %s\ndata: %s\n\n" % (name.encode(), data))

    def _told(self) -> bytes:
        events = b"".join(self._events)
        self._events.clear()
        return events

    def _usage(self) -> dict[str, Any]:
        used = self._book.used()
        return {
            "input_tokens": used.prompt_tokens,
            "input_tokens_details": {"cached_tokens": used.cached_tokens, "cache_write_tokens": 0},
            "output_tokens": used.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": used.reasoning_tokens},
            "total_tokens": used.prompt_tokens + used.completion_tokens,
        }
