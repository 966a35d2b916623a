"""Chunks to OpenAI's `text_completion`."""

from collections.abc import Sequence
from typing import Any

import msgspec

from ai_assistant.gateway.answers import DONE, Book, Head, finite
from ai_assistant.gateway.feed import Piece
from ai_assistant.protocol.chunks import FinishReason, TokenChunk, TokenLogprob

_encode = msgspec.json.Encoder().encode


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


class CompletionAnswer:
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
    ) -> None:
        self._book = Book(requests=len(echoes), n=n)
        self._choices = [_Choice(echo) for echo in echoes for _ in range(n)]
        self._echoes = {
            i: echo for i, echo in enumerate(e for e in echoes for _ in range(n)) if echo
        }
        self._offsets = [len(choice.text[0]) for choice in self._choices]
        self._logprobs = logprobs
        self._include_usage = include_usage
        self._timings = timings
        self._fields = {"object": "text_completion", **msgspec.to_builtins(head)}
        self._prefix = b"data: " + _encode(self._fields)[:-1] + b',"choices":['
        self._suffix = b'],"usage":null}\n\n' if include_usage else b"]}\n\n"

    def add(self, piece: Piece) -> None:
        """Take a piece into the whole answer."""
        self._choices[self._book.enter(piece)].add(piece.chunk)

    def events(self, pieces: list[Piece]) -> bytes:
        """The pieces as chunks."""
        return b"".join([self._event(piece) for piece in pieces])

    def end(self) -> bytes:
        """Usage and timings, if asked, and the mark of the end."""
        self._book.close()
        if not (self._include_usage or self._timings):
            return DONE
        return (
            self._prefix + b"]," + _encode(self._totals(self._include_usage))[1:] + b"\n\n" + DONE
        )

    def body(self) -> bytes:
        """The `text_completion` object."""
        self._book.close()
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
        return _encode({**self._fields, "choices": choices, **self._totals(usage=True)})

    def _totals(self, usage: bool) -> dict[str, Any]:
        fields: dict[str, Any] = {"usage": self._book.usage()} if usage else {}
        return {**fields, "timings": self._book.timings()} if self._timings else fields

    def _event(self, piece: Piece) -> bytes:
        index = self._book.enter(piece)
        chunk = piece.chunk
        logprobs = None
        if chunk.logprobs:
            logprobs = _old_logprobs(chunk.logprobs, self._offsets[index])
            self._offsets[index] += sum(len(entry.token) for entry in chunk.logprobs)
        choice = {
            "index": index,
            "text": self._echoes.pop(index, "") + chunk.text,
            "logprobs": logprobs,
            "finish_reason": chunk.finish,
        }
        return self._prefix + _encode(choice) + self._suffix


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
