"""Chunks to OpenAI's `text_completion`."""

from collections.abc import Sequence
from typing import Any

import msgspec

from ai_assistant.gateway.answers import Book, Head, finite
from ai_assistant.gateway.answers_openai import OpenAIAnswer, encode
from ai_assistant.gateway.feed import Piece
from ai_assistant.protocol.chunks import FinishReason, TokenChunk, TokenLogprob


class _Choice:
    """One choice, as it grows."""

    def __init__(self, echo: str) -> None:
        self.text = [echo]
        self.logprobs: list[TokenLogprob] = []
        self.finish: FinishReason | None = None

    def add(self, chunk: TokenChunk) -> None:
        self.text.append(chunk.text)
        self.logprobs += chunk.logprobs
        self.finish = chunk.finish or self.finish


class CompletionAnswer(OpenAIAnswer):
    """The answer to one or several prompts, whole or as events."""

    def __init__(
        self,
        head: Head,
        *,
        echoes: Sequence[str],
        n: int,
        logprobs: bool,
        include_usage: bool,
        timings: bool,
        spell: bool = False,
    ) -> None:
        super().__init__(
            Book(requests=len(echoes), n=n),
            head,
            "text_completion",
            include_usage=include_usage,
            timings=timings,
            spell=spell,
        )
        self._head = head
        self._choices = [_Choice(echo) for echo in echoes for _ in range(n)]
        self._echoes = {
            i: echo for i, echo in enumerate(e for e in echoes for _ in range(n)) if echo
        }
        self._offsets = [len(choice.text[0]) for choice in self._choices]
        self._logprobs = logprobs

    def add(self, piece: Piece) -> None:
        """Take a piece into the whole answer."""
        self._choices[self.book.enter(piece)].add(piece.chunk)

    def body(self) -> bytes:
        """The `text_completion` object."""
        self.book.close()
        choices = [
            {
                "index": index,
                "text": "".join(choice.text),
                "logprobs": _old_logprobs(choice.logprobs, len(choice.text[0])),
                "finish_reason": choice.finish,
            }
            for index, choice in enumerate(self._choices)
        ]
        if not self._logprobs:
            for choice in choices:
                choice["logprobs"] = None
        fields = {"object": "text_completion", **msgspec.to_builtins(self._head)}
        return encode({**fields, "choices": choices, **self.totals(usage=True)})

    def choice(self, piece: Piece) -> dict[str, Any]:
        """A piece as a choice of a chunk."""
        index = self.book.enter(piece)
        chunk = piece.chunk
        logprobs = None
        if chunk.logprobs:
            logprobs = _old_logprobs(chunk.logprobs, self._offsets[index])
            self._offsets[index] += sum(len(entry.token) for entry in chunk.logprobs)
        return {
            "index": index,
            "text": self._echoes.pop(index, "") + chunk.text,
            "logprobs": logprobs,
            "finish_reason": chunk.finish,
        }


def _old_logprobs(logprobs: Sequence[TokenLogprob], offset: int) -> dict[str, Any]:
    """The shape from before chat: parallel lists; offsets count characters."""
    offsets: list[int] = []
    for entry in logprobs:
        offsets.append(offset)
        offset += len(entry.token)
    return {
        "tokens": [entry.token for entry in logprobs],
        "token_logprobs": [finite(entry.logprob) for entry in logprobs],
        "top_logprobs": [
            {top.token: finite(top.logprob) for top in entry.top} for entry in logprobs
        ],
        "text_offset": offsets,
    }
