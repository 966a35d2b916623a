"""What a parser of output gives, and the parser for output that needs none."""

from typing import Protocol

import msgspec

from ai_assistant.protocol.chunks import ToolCallDelta


class Text(msgspec.Struct, frozen=True):
    """A part of the answer."""

    text: str


class Reasoning(msgspec.Struct, frozen=True):
    """A part of the thoughts before the answer."""

    text: str


Piece = Text | Reasoning | ToolCallDelta


class OutputParser(Protocol):
    """Sorts one answer's text into content, reasoning and tool calls, as it arrives.

    Wherever the text is split, the pieces joined are the same. Nothing is raised and nothing
    but markup, and white space beside it, is lost: a call that is none comes out as content.
    """

    @property
    def markers(self) -> frozenset[str]:
        """Control tokens whose text the parser wants; the engine hides all others."""
        ...

    @property
    def calls_done(self) -> int:
        """Complete calls so far."""
        ...

    def feed(self, text: str) -> list[Piece]:
        """The pieces that are certain now."""
        ...

    def finish(self) -> list[Piece]:
        """The rest, at the end of the output. Nothing is fed afterwards."""
        ...


class Plain:
    """All is content."""

    __slots__ = ()
    markers: frozenset[str] = frozenset()
    calls_done = 0

    def feed(self, text: str) -> list[Piece]:
        """The text as it is."""
        return [Text(text)] if text else []

    def finish(self) -> list[Piece]:
        """Nothing."""
        return []
