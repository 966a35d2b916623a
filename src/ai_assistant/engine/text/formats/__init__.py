"""Output in a model family's own format → content, reasoning and tool calls, as it streams."""

from ai_assistant.engine.text.formats.families import choose_parser
from ai_assistant.engine.text.formats.pieces import OutputParser, Piece, Plain, Reasoning, Text

__all__ = ["OutputParser", "Piece", "Plain", "Reasoning", "Text", "choose_parser"]
