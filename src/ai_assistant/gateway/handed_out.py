"""How far an answer got for its client, for the error that ends it in the middle."""

from collections.abc import Iterable

from ai_assistant.gateway.feed import Piece
from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.protocol.errors import Reached


class HandedOut:
    """Counts what went to the client, over all choices."""

    def __init__(self) -> None:
        self._characters = self._tokens = 0
        self._calls: set[tuple[int, int, int]] = set()

    def note(self, pieces: Iterable[Piece]) -> None:
        """These go out now."""
        for request, chunk in pieces:
            self._characters += len(chunk.text) + len(chunk.reasoning)
            self._tokens += _tokens(chunk)
            self._calls.update((request, chunk.index, call.index) for call in chunk.tool_calls)

    @property
    def reached(self) -> Reached:
        """How far that is."""
        return Reached(
            characters=self._characters, tokens=self._tokens, tool_calls=len(self._calls)
        )


def _tokens(chunk: TokenChunk) -> int:
    """As exactly as the piece tells: at least one where it says something."""
    if chunk.spelled:
        return len(chunk.spelled.cuts)
    return len(chunk.logprobs) or bool(chunk.text or chunk.reasoning or chunk.tool_calls)
