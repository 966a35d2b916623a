"""Chunks to OpenAI's `chat.completion` and `chat.completion.chunk`."""

from typing import Any

import msgspec

from ai_assistant.gateway.answers import Book, Head, chat_logprobs
from ai_assistant.gateway.answers_openai import OpenAIAnswer, encode
from ai_assistant.gateway.feed import Piece
from ai_assistant.protocol.chunks import FinishReason, TokenChunk, ToolCallDelta


class _Choice:
    """One choice of a whole answer, as it grows."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.calls: dict[int, dict[str, Any]] = {}
        self.logprobs: list[dict[str, Any]] = []
        self.finish: FinishReason | None = None

    def add(self, chunk: TokenChunk) -> None:
        self.text.append(chunk.text)
        self.reasoning.append(chunk.reasoning)
        self.finish = chunk.finish or self.finish
        self.logprobs += chat_logprobs(chunk.logprobs)
        for piece in chunk.tool_calls:
            self._add_call(piece)

    def _add_call(self, piece: ToolCallDelta) -> None:
        empty = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        call = self.calls.setdefault(piece.index, empty)
        call["id"] = piece.id or call["id"]
        call["function"]["name"] = piece.name or call["function"]["name"]
        call["function"]["arguments"] += piece.arguments

    def message(self) -> dict[str, Any]:
        text = "".join(self.text)
        content = None if self.calls and not text else text
        message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
        reasoning = "".join(self.reasoning)
        if reasoning:
            message["reasoning_content"] = reasoning
        if self.calls:
            message["tool_calls"] = [self.calls[index] for index in sorted(self.calls)]
        return message


class ChatAnswer(OpenAIAnswer):
    """The answer to one chat request, whole or as events."""

    def __init__(
        self,
        head: Head,
        *,
        n: int,
        logprobs: bool,
        include_usage: bool,
        timings: bool,
        spell: bool = False,
    ) -> None:
        super().__init__(
            Book(requests=1, n=n),
            head,
            "chat.completion.chunk",
            include_usage=include_usage,
            timings=timings,
            spell=spell,
        )
        self._head = head
        self._choices = [_Choice() for _ in range(n)]
        self._greeted: set[int] = set()
        self._logprobs = logprobs

    def add(self, piece: Piece) -> None:
        """Take a piece into the whole answer."""
        self._choices[self.book.enter(piece)].add(piece.chunk)

    def body(self) -> bytes:
        """The `chat.completion` object."""
        self.book.close()
        choices = [self._whole(index) for index in range(len(self._choices))]
        fields = {"object": "chat.completion", **msgspec.to_builtins(self._head)}
        return encode({**fields, "choices": choices, **self.totals(usage=True)})

    def _whole(self, index: int) -> dict[str, Any]:
        choice = self._choices[index]
        logprobs = {"content": choice.logprobs, "refusal": None} if self._logprobs else None
        return {
            "index": index,
            "message": choice.message(),
            "logprobs": logprobs,
            "finish_reason": choice.finish,
        }

    def choice(self, piece: Piece) -> dict[str, Any]:
        """A piece as a choice of a `chat.completion.chunk`."""
        index = self.book.enter(piece)
        chunk = piece.chunk
        content = {"content": chunk.logprobs and chat_logprobs(chunk.logprobs), "refusal": None}
        return {
            "index": index,
            "delta": self._delta(index, chunk),
            "logprobs": content if chunk.logprobs else None,
            "finish_reason": chunk.finish,
        }

    def _delta(self, index: int, chunk: TokenChunk) -> dict[str, Any]:
        delta: dict[str, Any] = {}
        if index not in self._greeted:
            self._greeted.add(index)
            delta = {"role": "assistant", "content": None if chunk.tool_calls else ""}
        if chunk.reasoning:
            delta["reasoning_content"] = chunk.reasoning
        if chunk.text:
            delta["content"] = chunk.text
        if chunk.tool_calls:
            delta["tool_calls"] = [_call_delta(piece) for piece in chunk.tool_calls]
        return delta


def _call_delta(piece: ToolCallDelta) -> dict[str, Any]:
    function: dict[str, Any] = {"arguments": piece.arguments}
    if piece.name is not None:
        function = {"name": piece.name, **function}
    if piece.id is None:
        return {"index": piece.index, "function": function}
    return {"index": piece.index, "id": piece.id, "type": "function", "function": function}
