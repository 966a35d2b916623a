"""Chat messages and tools as they come over the wire."""

from typing import Any

import msgspec

from ai_assistant.gateway.decoding import portable
from ai_assistant.gateway.errors import invalid
from ai_assistant.protocol.errors import UnsupportedFeature
from ai_assistant.protocol.requests import ChatMessage, Tool, ToolCall, ToolChoice

_ROLES = {
    "system": "system",
    "developer": "system",  # Templates know no developer.
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_TEXT_PARTS = {"text", "input_text", "output_text", "refusal"}
_MEDIA_PARTS = {
    "image_url",
    "input_image",
    "image",
    "input_audio",
    "audio_url",
    "video_url",
    "file",
}


class Part(msgspec.Struct):
    """A piece of a message's content."""

    type: str
    text: str | None = None
    refusal: str | None = None


class CalledFunction(msgspec.Struct):
    """What the model called. Some clients send the arguments as an object."""

    name: str
    arguments: str | dict[str, Any] | None = None


class Call(msgspec.Struct):
    """A tool call of an earlier turn."""

    function: CalledFunction
    id: str = ""


class Message(msgspec.Struct):
    """One turn."""

    role: str
    content: str | list[Part] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None
    name: str | None = None


class Function(msgspec.Struct):
    """A function that the model may call."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolEntry(msgspec.Struct):
    """A tool; kinds other than functions belong to other servers."""

    type: str = "function"
    function: Function | None = None


class ChosenFunction(msgspec.Struct):
    """The function that must be called."""

    name: str


class ChosenTool(msgspec.Struct):
    """The tool that must be called."""

    type: str = "function"
    function: ChosenFunction | None = None


def to_message(message: Message, where: str) -> ChatMessage:
    """A turn in our words; `where` names it in errors."""
    if message.role not in _ROLES:
        raise invalid(f"{where}.role", f"expected one of {', '.join(_ROLES)}")
    calls = tuple(
        _to_call(call, f"{where}.tool_calls[{i}]")
        for i, call in enumerate(message.tool_calls or ())
    )
    content = _to_text(message.content, where)
    return ChatMessage(
        role=_ROLES[message.role],
        content="" if content is None and not calls else content,
        reasoning=message.reasoning_content or message.reasoning,
        tool_calls=calls,
        tool_call_id=message.tool_call_id,
        name=message.name,
    )


def _to_text(content: str | list[Part] | None, where: str) -> str | None:
    if content is None or isinstance(content, str):
        return content
    return "\n".join(_part_text(part, f"{where}.content[{i}]") for i, part in enumerate(content))


def _part_text(part: Part, where: str) -> str:
    if part.type in _MEDIA_PARTS:
        raise UnsupportedFeature(
            f"{where}: this server reads text only; send no parts of type {part.type}.",
            param=f"{where}.type",
        )
    if part.type not in _TEXT_PARTS:
        raise invalid(f"{where}.type", "expected text")
    text = part.refusal if part.type == "refusal" else part.text
    if text is None:
        raise invalid(f"{where}.text", "this field is required")
    return text


def _to_call(call: Call, where: str) -> ToolCall:
    arguments = call.function.arguments
    if not isinstance(arguments, str):
        arguments = portable(arguments or {}, f"{where}.function.arguments")
        arguments = msgspec.json.encode(arguments).decode()
    return ToolCall(id=call.id, name=call.function.name, arguments=arguments)


def to_tools(entries: list[ToolEntry]) -> tuple[Tool, ...]:
    """The functions among the tools; other kinds are left out."""
    return tuple(
        _to_tool(entry.function, f"tools[{i}].function")
        for i, entry in enumerate(entries)
        if entry.type == "function"
    )


def _to_tool(function: Function | None, where: str) -> Tool:
    if function is None:
        raise invalid(where, "this field is required")
    return Tool(
        name=function.name,
        description=function.description,
        parameters=portable(function.parameters, f"{where}.parameters"),
        strict=bool(function.strict),
    )


def to_choice(choice: str | ChosenTool | None, tools: tuple[Tool, ...]) -> ToolChoice:
    """Whether a function may, must or must not be called."""
    if choice is None:
        return ToolChoice()
    if isinstance(choice, ChosenTool):
        return _named_choice(choice, tools)
    if choice == "required":
        if not tools:
            raise invalid("tool_choice", "required needs at least one function in tools")
        return ToolChoice(mode="required")
    if choice in ("auto", "none"):
        return ToolChoice(mode="auto" if choice == "auto" else "none")
    raise invalid("tool_choice", "expected auto, none, required or a function")


def _named_choice(choice: ChosenTool, tools: tuple[Tool, ...]) -> ToolChoice:
    if choice.type != "function":
        raise UnsupportedFeature(
            f"tool_choice.type: {choice.type} is not supported; name a function.",
            param="tool_choice.type",
        )
    if choice.function is None:
        raise invalid("tool_choice.function", "this field is required")
    name = choice.function.name
    if name not in {tool.name for tool in tools}:
        raise invalid("tool_choice.function.name", "no function of that name is in tools")
    return ToolChoice(mode="required", name=name)
