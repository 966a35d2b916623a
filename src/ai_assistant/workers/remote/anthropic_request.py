"""Our request in the words of Anthropic's Messages API."""

import re
from typing import Any, cast

import msgspec

from ai_assistant.protocol.errors import UnsupportedFeature
from ai_assistant.protocol.requests import (
    ChatMessage,
    ChatPrompt,
    GenerateRequest,
    ToolCall,
    ToolChoice,
)
from ai_assistant.workers.remote.continuing import continued
from ai_assistant.workers.remote.kinds import Target
from ai_assistant.workers.remote.transport import Call

JSON_TOOL = "json_answer"
"""The function whose arguments are the answer, where JSON is asked for."""
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 24576,
            "max": 32000}  # fmt: skip
"""Tokens of thinking."""
_encode = msgspec.json.Encoder().encode


def generate_call(request: GenerateRequest, target: Target) -> Call:
    """A streamed message; raises `UnsupportedFeature`."""
    request = continued(request, target.continues)
    prompt = request.prompt
    if not isinstance(prompt, ChatPrompt):
        raise _unable(target, "takes conversations only, no bare text")
    _check(request, target)
    budget = _thinking_budget(request, prompt)
    limit = request.max_tokens or target.max_output
    body: dict[str, Any] = {
        "model": target.model,
        "stream": True,
        "max_tokens": limit + (budget or 0),
        "messages": _messages(prompt.messages),
        **_system(prompt.messages),
        **_sampling(request, thinking=budget is not None),
        **_tools(request, prompt, target),
    }
    if request.stop:
        body["stop_sequences"] = list(request.stop)
    if budget is not None:
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    return Call(path="/messages", body=_encode(body))


def thinking(request: GenerateRequest) -> int:
    """Tokens of thinking, which come on top of `max_tokens`."""
    prompt = request.prompt
    return (_thinking_budget(request, prompt) or 0) if isinstance(prompt, ChatPrompt) else 0


def _check(request: GenerateRequest, target: Target) -> None:
    if request.n > 1:
        raise _unable(target, "gives one answer at a time")
    if request.logprobs is not None:
        raise _unable(target, "gives no log probabilities")
    if request.format.kind in ("lark", "regex"):
        raise _unable(target, f"follows no grammar of the kind {request.format.kind}")
    if request.ignore_eos:
        raise _unable(target, "always ends where the model ends")


def _thinking_budget(request: GenerateRequest, prompt: ChatPrompt) -> int | None:
    """Tokens of thinking; None: the model does not think, or must not here.

    It may not where a function is forced, where a message is continued, and between a function's
    call and its result, because the thoughts from before the call are not kept with their seal.
    """
    variables = prompt.template_variables
    effort = variables.get("reasoning_effort")
    wanted = variables.get("enable_thinking", effort in _BUDGETS)
    forced = prompt.tool_choice.mode == "required" or request.format.kind != "text"
    called = bool(prompt.messages) and prompt.messages[-1].role == "tool"
    if wanted is not True or forced or called or request.partial is not None:
        return None
    return _BUDGETS.get(str(effort), _BUDGETS["medium"])


def _sampling(request: GenerateRequest, *, thinking: bool) -> dict[str, Any]:
    if thinking:
        return {}  # it insists on its own
    given = request.sampling
    fields: dict[str, Any] = {}
    if given.temperature is not None:
        fields["temperature"] = min(given.temperature, 1.0)
    elif given.top_p is not None:  # newer models refuse both together
        fields["top_p"] = given.top_p
    if given.top_k:
        fields["top_k"] = given.top_k
    return fields


def _system(messages: tuple[ChatMessage, ...]) -> dict[str, Any]:
    parts = [m.content for m in messages if m.role in ("system", "developer") and m.content]
    return {"system": "\n\n".join(parts)} if parts else {}


def _messages(messages: tuple[ChatMessage, ...]) -> list[dict[str, Any]]:
    """Turns that alternate; the results of functions belong to the user's turn."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message.role in ("system", "developer"):
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _blocks(message)
        if not blocks:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    return turns


def _blocks(message: ChatMessage) -> list[dict[str, Any]]:
    if message.role == "tool":
        name = _identifier(message.tool_call_id or "")
        return [{"type": "tool_result", "tool_use_id": name, "content": message.content or ""}]
    blocks: list[dict[str, Any]] = []
    if message.content:
        blocks.append({"type": "text", "text": message.content})
    blocks += [_use(call) for call in message.tool_calls]
    return blocks


def _use(call: ToolCall) -> dict[str, Any]:
    try:
        arguments: object = msgspec.json.decode(call.arguments or "{}")
    except msgspec.DecodeError:
        arguments = {"arguments": call.arguments}
    if not isinstance(arguments, dict):
        arguments = {"arguments": arguments}
    return {
        "type": "tool_use",
        "id": _identifier(call.id),
        "name": call.name,
        "input": cast("dict[str, Any]", arguments),
    }


def _identifier(text: str) -> str:
    """Ids of other servers may hold what is refused here; the same id stays the same."""
    return _FOREIGN.sub("_", text) or "call_0"


def _tools(request: GenerateRequest, prompt: ChatPrompt, target: Target) -> dict[str, Any]:
    if request.format.kind != "text":
        return _json_tool(request, prompt, target)
    if not prompt.tools:
        return {}
    tools = [
        {
            "name": tool.name,
            **({"description": tool.description} if tool.description else {}),
            "input_schema": tool.parameters or {"type": "object"},
        }
        for tool in prompt.tools
    ]
    choice = _choice(prompt.tool_choice)
    if not prompt.parallel_tool_calls and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = True
    return {"tools": tools, "tool_choice": choice}


def _choice(choice: ToolChoice) -> dict[str, Any]:
    if choice.name:
        return {"type": "tool", "name": choice.name}
    return {"type": {"auto": "auto", "none": "none", "required": "any"}[choice.mode]}


def _json_tool(request: GenerateRequest, prompt: ChatPrompt, target: Target) -> dict[str, Any]:
    """JSON as the arguments of a function that must be called: every model can do that."""
    if prompt.tools and prompt.tool_choice.mode != "none":
        raise _unable(target, "cannot mix JSON answers with functions")
    schema = request.format.schema or {"type": "object"}
    if schema.get("type") != "object":
        raise _unable(target, "answers in JSON with objects only")
    tool = {"name": JSON_TOOL, "description": "Gives the answer.", "input_schema": schema}
    return {"tools": [tool], "tool_choice": {"type": "tool", "name": JSON_TOOL}}


def _unable(target: Target, what: str) -> UnsupportedFeature:
    return UnsupportedFeature(f"{target.provider} {what}.")
