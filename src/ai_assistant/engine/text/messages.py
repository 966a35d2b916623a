"""The conversation as chat templates expect it: OpenAI's shape, as plain dicts."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any, NamedTuple, cast

import msgspec

from ai_assistant.protocol.requests import ChatMessage, Tool, ToolCall

TOOL_TEXT = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{signatures}
</tools>

For each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""


class Shape(NamedTuple):
    """What a template wants of its messages, beyond the usual."""

    argument_text: bool = False
    """Arguments of calls as JSON text, not as a mapping."""
    none_content: bool = False
    """Content None where a message has calls only."""
    content_parts: bool = False
    """Content as a list of typed parts."""
    thinking_parts: bool = False
    """Reasoning as a part of the content, too."""
    thinking_key: bool = False
    """Reasoning also under the name `thinking`, and then no content beside calls."""
    short_ids: bool = False
    """Call ids of nine letters and digits."""


def tool_dicts(tools: Iterable[Tool]) -> list[dict[str, Any]]:
    """Tools in OpenAI's shape; nothing is missing, so that templates can concatenate."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description or "",
                "parameters": tool.parameters or {"type": "object", "properties": {}},
            },
        }
        for tool in tools
    ]


def message_dicts(messages: Iterable[ChatMessage], shape: Shape) -> list[dict[str, Any]]:
    """Messages in OpenAI's shape; absent fields are absent keys, but content is always there."""
    return [_message_dict(message, shape) for message in messages]


def _message_dict(message: ChatMessage, shape: Shape) -> dict[str, Any]:
    content = message.content or ""
    result: dict[str, Any] = {"role": message.role, "content": content}
    if message.tool_calls:
        result["tool_calls"] = [_call_dict(call, shape) for call in message.tool_calls]
        if shape.none_content and not content:
            result["content"] = None
    if message.tool_call_id is not None:
        result["tool_call_id"] = _call_id(message.tool_call_id, shape)
    if message.name is not None:
        result["name"] = message.name
    if message.reasoning:
        _add_reasoning(result, message.reasoning, shape)
    if shape.content_parts and isinstance(result["content"], str):
        result["content"] = [{"type": "text", "text": content}]
    return result


def _add_reasoning(result: dict[str, Any], reasoning: str, shape: Shape) -> None:
    result["reasoning_content"] = reasoning
    if shape.thinking_key:
        result["thinking"] = reasoning
        if "tool_calls" in result:
            result["content"] = ""
    if shape.thinking_parts and result["role"] == "assistant":
        text = result["content"]
        result["content"] = [{"type": "thinking", "thinking": reasoning}]
        if text:
            result["content"].append({"type": "text", "text": text})


def _call_dict(call: ToolCall, shape: Shape) -> dict[str, Any]:
    arguments = call.arguments if shape.argument_text else parsed_arguments(call.arguments)
    return {
        "id": _call_id(call.id, shape),
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }


def parsed_arguments(arguments: str) -> dict[str, Any] | str:
    """The mapping that the text is the JSON of; the text itself where it is not one."""
    try:
        value = json.loads(arguments or "{}")
    except ValueError:
        return arguments
    return cast("dict[str, Any]", value) if isinstance(value, dict) else arguments


def _call_id(id: str, shape: Shape) -> str:
    if not shape.short_ids or (len(id) == 9 and id.isalnum()):
        return id
    return hashlib.sha256(id.encode()).hexdigest()[:9]


def described(
    messages: Iterable[ChatMessage], tools: Iterable[Tool], *, system: bool
) -> list[ChatMessage]:
    """The messages with the tools told as text, for templates that know none.

    The text goes into the system message, or with `system` off before the first message's.
    """
    signatures = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tool_dicts(tools))
    text = TOOL_TEXT.format(signatures=signatures)
    result = list(messages)
    if result and (result[0].role == "system" or not system):
        old = result[0].content or ""
        both = f"{old}\n\n{text}" if result[0].role == "system" else f"{text}\n\n{old}"
        result[0] = msgspec.structs.replace(result[0], content=both)
    else:
        result.insert(0, ChatMessage(role="system", content=text))
    return result


def spelled_out(messages: Iterable[ChatMessage]) -> list[ChatMessage]:
    """The messages with calls and their results as text, for templates that know none."""
    result: list[ChatMessage] = []
    answering = False
    for message in messages:
        if message.role == "tool":
            text = f"<tool_response>\n{message.content or ''}\n</tool_response>"
            if answering:
                last = result.pop()
                text = f"{last.content}\n{text}"
            result.append(ChatMessage(role="user", content=text))
        else:
            result.append(_with_calls_as_text(message))
        answering = message.role == "tool"
    return result


def _with_calls_as_text(message: ChatMessage) -> ChatMessage:
    if not message.tool_calls:
        return message
    parts = [message.content] if message.content else []
    for call in message.tool_calls:
        body = {"name": call.name, "arguments": parsed_arguments(call.arguments)}
        parts.append(f"<tool_call>\n{json.dumps(body, ensure_ascii=False)}\n</tool_call>")
    return msgspec.structs.replace(message, content="\n".join(parts), tool_calls=())
