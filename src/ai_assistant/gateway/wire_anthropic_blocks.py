"""Anthropic's turns, made of blocks, as messages in our words."""

from typing import Any

import msgspec

from ai_assistant.gateway.decoding import portable
from ai_assistant.gateway.errors import invalid
from ai_assistant.protocol.errors import UnsupportedFeature
from ai_assistant.protocol.requests import ChatMessage, ToolCall

_ROLES = ("user", "assistant", "system")
_SILENT = {"redacted_thinking", "server_tool_use", "fallback", "compaction"}
"""Blocks that say nothing to another model."""


class Source(msgspec.Struct):
    """Where a document's text is."""

    type: str
    data: str | None = None
    media_type: str | None = None


class Block(msgspec.Struct):
    """A piece of a turn: the fields of all types that are read here."""

    type: str
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = None
    content: "str | list[Block] | None" = None
    is_error: bool | None = None
    source: Source | None = None
    title: str | None = None


_UNSEEN = Block(type="text", text="(an image, which this model cannot see)")
"""A tool may give one unasked: refusing it would end the conversation."""


class Turn(msgspec.Struct):
    """What one side said."""

    role: str
    content: str | list[Block]


def system_text(system: str | list[Block] | None) -> str:
    """The system prompt as one text."""
    if system is None or isinstance(system, str):
        return system or ""
    return "\n\n".join(filter(None, _texts(system, "system")))


def to_messages(turns: list[Turn]) -> list[ChatMessage]:
    """The turns in our words; raises `RequestError` that names the field at fault."""
    names: dict[str, str] = {}
    """Of the tools by the ids of their calls: results do not repeat them."""
    messages: list[ChatMessage] = []
    for i, turn in enumerate(turns):
        where = f"messages[{i}]"
        if turn.role not in _ROLES:
            raise invalid(f"{where}.role", f"expected one of {', '.join(_ROLES)}")
        if isinstance(turn.content, str):
            messages.append(ChatMessage(role=turn.role, content=turn.content))
        elif turn.role == "assistant":
            messages.append(_assistant(turn.content, f"{where}.content", names))
        else:
            messages += _others(turn.role, turn.content, f"{where}.content", names)
    return messages


def _assistant(blocks: list[Block], where: str, names: dict[str, str]) -> ChatMessage:
    calls = [
        _to_call(block, f"{where}[{i}]")
        for i, block in enumerate(blocks)
        if block.type == "tool_use"
    ]
    names.update((call.id, call.name) for call in calls)
    spoken = [block for block in blocks if block.type not in ("tool_use", "thinking")]
    thoughts = [block.thinking for block in blocks if block.type == "thinking" and block.thinking]
    return ChatMessage(
        role="assistant",
        content="".join(_texts(spoken, where)),
        reasoning="\n\n".join(thoughts) or None,
        tool_calls=tuple(calls),
    )


def _to_call(block: Block, where: str) -> ToolCall:
    if not block.id or not block.name:
        raise invalid(f"{where}.{'name' if block.id else 'id'}", "this field is required")
    arguments = portable(block.input or {}, f"{where}.input")
    return ToolCall(id=block.id, name=block.name, arguments=msgspec.json.encode(arguments).decode())


def _others(role: str, blocks: list[Block], where: str, names: dict[str, str]) -> list[ChatMessage]:
    """The results of tools as messages of their own, the texts between them together."""
    messages: list[ChatMessage] = []
    texts: list[str] = []

    def end_text() -> None:
        if texts:
            messages.append(ChatMessage(role=role, content="\n".join(texts)))
            texts.clear()

    for i, block in enumerate(blocks):
        if block.type == "tool_result":
            end_text()
            messages.append(_result(block, f"{where}[{i}]", names))
        elif block.type not in _SILENT:
            texts.append(_text(block, f"{where}[{i}]"))
    end_text()
    return messages


def _result(block: Block, where: str, names: dict[str, str]) -> ChatMessage:
    if not block.tool_use_id:
        raise invalid(f"{where}.tool_use_id", "this field is required")
    content = block.content or ""
    if not isinstance(content, str):
        seen = [_UNSEEN if part.type == "image" else part for part in content]
        content = "\n".join(_texts(seen, f"{where}.content"))
    return ChatMessage(
        role="tool",
        content=f"Error: {content}" if block.is_error else content,
        tool_call_id=block.tool_use_id,
        name=names.get(block.tool_use_id),
    )


def _texts(blocks: list[Block], where: str) -> list[str]:
    return [
        _text(block, f"{where}[{i}]") for i, block in enumerate(blocks) if block.type not in _SILENT
    ]


def _text(block: Block, where: str) -> str:
    if block.type == "document" and block.source and block.source.type == "text":
        return "\n".join(filter(None, (block.title, block.source.data)))
    if block.type == "tool_reference":
        return ""
    if block.type != "text":
        raise UnsupportedFeature(
            f"{where}.type: this server reads text only; send no blocks of type {block.type}.",
            param=f"{where}.type",
        )
    if block.text is None:
        raise invalid(f"{where}.text", "this field is required")
    return block.text
