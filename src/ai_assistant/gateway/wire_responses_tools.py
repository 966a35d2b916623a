"""The tools of a Responses request. Those that OpenAI's servers run are left out."""

from typing import Any

import msgspec

from ai_assistant.gateway.decoding import portable
from ai_assistant.gateway.errors import invalid
from ai_assistant.protocol.errors import UnsupportedFeature
from ai_assistant.protocol.requests import Tool, ToolChoice

_FREE_TEXT = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
"""A custom tool takes free text: to the model it is a function of one string."""


class CustomFormat(msgspec.Struct):
    """What a custom tool's text must look like."""

    type: str = "text"
    definition: str | None = None


class ToolEntry(msgspec.Struct):
    """A tool: the fields of functions and of custom tools."""

    type: str = "function"
    name: str = ""
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    format: CustomFormat | None = None


class Choice(msgspec.Struct):
    """A tool that must be called, or several that may be."""

    type: str
    name: str | None = None
    mode: str = "auto"
    tools: list[ToolEntry] | None = None


def to_tools(entries: list[ToolEntry]) -> tuple[Tool, ...]:
    """Functions and custom tools."""
    return tuple(
        _to_tool(entry, f"tools[{i}]")
        for i, entry in enumerate(entries)
        if entry.type in ("function", "custom")
    )


def custom_names(entries: list[ToolEntry]) -> frozenset[str]:
    """The tools whose calls are told as free text."""
    return frozenset(entry.name for entry in entries if entry.type == "custom")


def _to_tool(entry: ToolEntry, where: str) -> Tool:
    if not entry.name:
        raise invalid(f"{where}.name", "this field is required")
    if entry.type == "custom":
        return Tool(name=entry.name, description=_custom_words(entry), parameters=_FREE_TEXT)
    return Tool(
        name=entry.name,
        description=entry.description,
        parameters=portable(entry.parameters, f"{where}.parameters"),
        strict=bool(entry.strict),
    )


def _custom_words(entry: ToolEntry) -> str:
    """The grammar is told, not enforced: it holds for a string inside of JSON."""
    grammar = entry.format.definition if entry.format else None
    told = f"The input must follow this grammar:\n{grammar}" if grammar else None
    return "\n\n".join(filter(None, (entry.description, told)))


def to_choice(
    choice: str | Choice | None, tools: tuple[Tool, ...]
) -> tuple[tuple[Tool, ...], ToolChoice]:
    """The tools that may be called, and whether one must be."""
    if choice is None or choice == "auto":
        return tools, ToolChoice()
    if choice == "none":
        return tools, ToolChoice(mode="none")
    if choice == "required":
        return tools, _required(tools)
    if isinstance(choice, str):
        raise invalid("tool_choice", "expected auto, none, required or a tool")
    if choice.type == "allowed_tools":
        names = {entry.name for entry in choice.tools or []}
        allowed = tuple(tool for tool in tools if tool.name in names)
        return allowed, _required(allowed) if choice.mode == "required" else ToolChoice()
    if choice.type not in ("function", "custom"):
        raise UnsupportedFeature(
            f"tool_choice.type: {choice.type} is not supported; name a function.",
            param="tool_choice.type",
        )
    if choice.name not in {tool.name for tool in tools}:
        raise invalid("tool_choice.name", "no tool of that name is in tools")
    return tools, ToolChoice(mode="required", name=choice.name)


def _required(tools: tuple[Tool, ...]) -> ToolChoice:
    if not tools:
        raise invalid("tool_choice", "required needs at least one function in tools")
    return ToolChoice(mode="required")
