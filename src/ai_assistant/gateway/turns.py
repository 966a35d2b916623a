"""Turns in an order that chat templates understand, whatever order an API allows.

Most templates know one system message, at the beginning, and refuse two user turns in a row.
"""

from collections.abc import Iterable

import msgspec

from ai_assistant.protocol.requests import ChatMessage


def in_order(messages: Iterable[ChatMessage]) -> tuple[ChatMessage, ...]:
    """Leading system messages as one, later ones as reminders to the model in a user's turn,
    and neighbours of the same role as one turn."""
    result: list[ChatMessage] = []
    for message in messages:
        one = message
        if message.role == "system" and result and result[-1].role != "system":
            one = _reminder(message)
        if result and _belong_together(result[-1], one):
            result[-1] = _joined(result[-1], one)
        else:
            result.append(one)
    return tuple(result)


def _reminder(message: ChatMessage) -> ChatMessage:
    """As Claude Code writes what a client tells the model in the middle of a conversation."""
    text = f"<system-reminder>\n{message.content or ''}\n</system-reminder>"
    return ChatMessage(role="user", content=text)


def _belong_together(first: ChatMessage, second: ChatMessage) -> bool:
    if first.role != second.role or first.name != second.name:
        return False
    return first.role in ("system", "user", "assistant")


def _joined(first: ChatMessage, second: ChatMessage) -> ChatMessage:
    return msgspec.structs.replace(
        first,
        content=_lines(first.content, second.content),
        reasoning=_lines(first.reasoning, second.reasoning),
        tool_calls=(*first.tool_calls, *second.tool_calls),
    )


def _lines(*parts: str | None) -> str | None:
    given = [part for part in parts if part]
    return "\n\n".join(given) if given else None
