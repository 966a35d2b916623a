"""What OpenAI's two answers, of chats and of texts, have in common."""

from typing import Any

import msgspec

from ai_assistant.gateway.answers import DONE, EVENT_STREAM, SSE_COMMENT, Book, Head
from ai_assistant.gateway.error_shapes import broken_off_openai
from ai_assistant.gateway.errors import error_body
from ai_assistant.gateway.feed import Piece
from ai_assistant.gateway.wire_nodes import told_to_node
from ai_assistant.protocol.errors import AssistantError, Reached

encode = msgspec.json.Encoder().encode


class OpenAIAnswer:
    """Events around choices, and the totals at the end. A subclass writes the choices."""

    media = EVENT_STREAM
    ping = SSE_COMMENT

    def __init__(
        self,
        book: Book,
        head: Head,
        chunk_kind: str,
        *,
        include_usage: bool,
        timings: bool,
        spell: bool = False,
    ) -> None:
        """`spell`: a node asks, which wants the tokens too."""
        self._spell = spell
        self.book = book
        self._include_usage = include_usage
        self._timings = timings
        fields = {"object": chunk_kind, **msgspec.to_builtins(head)}
        self._prefix = b"data: " + encode(fields)[:-1] + b',"choices":['
        self._suffix = b'],"usage":null}\n\n' if include_usage else b"]}\n\n"

    def events(self, pieces: list[Piece]) -> bytes:
        """The pieces as chunks."""
        return b"".join([self._event(piece) for piece in pieces])

    def end(self) -> bytes:
        """Usage and timings, if asked, and the mark of the end."""
        self.book.close()
        if not (self._include_usage or self._timings):
            return DONE
        totals = self.totals(usage=self._include_usage)
        return self._prefix + b"]," + encode(totals)[1:] + b"\n\n" + DONE

    def failure(self, error: AssistantError, reached: Reached) -> bytes:
        """An error after the stream began. A node goes on elsewhere, and says itself how far."""
        body = error_body(error) if self._spell else broken_off_openai(error, reached)
        return b"data: " + body + b"\n\n"

    def totals(self, *, usage: bool) -> dict[str, Any]:
        """What stands beside the choices when all is known."""
        fields: dict[str, Any] = {"usage": self.book.usage()} if usage else {}
        fields |= self.book.told()
        return {**fields, "timings": self.book.timings()} if self._timings else fields

    def choice(self, piece: Piece) -> dict[str, Any]:
        """A piece as a choice of a chunk."""
        raise NotImplementedError(type(self))

    def _event(self, piece: Piece) -> bytes:
        choice = self.choice(piece)
        if self._spell:
            choice |= told_to_node(piece.chunk)
        event = self._prefix + encode(choice)
        if piece.chunk.usage is not None and (told := self.book.told()):
            return event + b"]," + encode(told)[1:-1] + self._suffix[1:]
        return event + self._suffix
