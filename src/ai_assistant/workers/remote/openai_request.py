"""Our request in the words of OpenAI's API and of the many servers that speak it."""

from typing import Any, cast

import msgspec

from ai_assistant.protocol.errors import UnsupportedFeature
from ai_assistant.protocol.requests import (
    ChatMessage,
    ChatPrompt,
    EmbedRequest,
    GenerateRequest,
    Partial,
    TextPrompt,
    Tool,
    ToolCall,
)
from ai_assistant.workers.remote.continuing import continued
from ai_assistant.workers.remote.kinds import Target
from ai_assistant.workers.remote.transport import Call

_encode = msgspec.json.Encoder().encode
_EFFORTS = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"})


def generate_call(request: GenerateRequest, target: Target) -> Call:
    """A streamed chat or text completion; raises `UnsupportedFeature`."""
    given, request = request.partial, continued(request, target.continues)
    body: dict[str, Any] = {
        "model": target.model,
        "stream": True,
        "stream_options": {"include_usage": True},
        **_sampling(request, target),
        **_limits(request, target),
        **_format(request, target),
        **_for_node(request, given, target),
    }
    if isinstance(request.prompt, ChatPrompt):
        body |= _chat(request, request.prompt, target)
        if request.partial is not None:
            _mark_continued(body, target)
        return Call(path="/chat/completions", body=_encode(body))
    return Call(path="/completions", body=_encode(body | _text(request, target)))


def embed_call(request: EmbedRequest, target: Target) -> Call:
    """Vectors for texts or tokens; raises `UnsupportedFeature`."""
    if "embeddings" not in target.abilities:
        raise _unable(target, "gives no embeddings")
    texts = [one.text for one in request.inputs if isinstance(one, TextPrompt)]
    tokens = [list(one.tokens) for one in request.inputs if not isinstance(one, TextPrompt)]
    if tokens and (texts or not target.kind.token_prompts):
        raise _unable(target, "takes no token ids here; send text")
    body = {"model": target.model, "input": texts or tokens, "encoding_format": "float"}
    return Call(path="/embeddings", body=_encode(body))


def _for_node(request: GenerateRequest, partial: Partial | None, target: Target) -> dict[str, Any]:
    """What only our own nodes understand: the tokens so far, and the wish to hear them."""
    if not target.kind.spells:
        return {}
    fields: dict[str, Any] = {"spell": True} if request.spell else {}
    if partial is not None and partial.spelled:
        fields["partial"] = {"text": len(partial.text), "spelled": partial.spelled}
    return {"ai_assistant": fields} if fields else {}


def _sampling(request: GenerateRequest, target: Target) -> dict[str, Any]:
    given, takes = request.sampling, target.kind.sampling
    fields: dict[str, Any] = {"temperature": given.temperature, "top_p": given.top_p}
    fields |= {
        "presence_penalty": given.presence_penalty or None,
        "frequency_penalty": given.frequency_penalty or None,
        "top_k": given.top_k if "top_k" in takes else None,
        "min_p": given.min_p if "min_p" in takes else None,
        "logit_bias": (given.logit_bias or None) if "logit_bias" in takes else None,
    }
    for name in ("seed", "random_seed"):
        fields[name] = given.seed if name in takes else None
    for name in ("repetition_penalty", "repeat_penalty"):
        fields[name] = given.repetition_penalty if name in takes else None
    return {name: value for name, value in fields.items() if value is not None}


def _limits(request: GenerateRequest, target: Target) -> dict[str, Any]:
    if len(request.stop) > target.kind.max_stops:
        raise _unable(target, f"takes at most {target.kind.max_stops} stop strings")
    fields: dict[str, Any] = {}
    if request.max_tokens is not None:
        chat = isinstance(request.prompt, ChatPrompt)
        fields[target.kind.limit_name if chat else "max_tokens"] = request.max_tokens
    if request.stop:
        fields["stop"] = list(request.stop)
    if request.n > 1:
        fields["n"] = request.n
    if request.ignore_eos:
        if "grammar" not in target.abilities:
            raise _unable(target, "always ends where the model ends")
        fields["ignore_eos"] = True
    return fields


def _format(request: GenerateRequest, target: Target) -> dict[str, Any]:
    wanted = request.format
    match wanted.kind:
        case "text":
            return {}
        case "json_object":
            return {"response_format": {"type": "json_object"}}
        case "json_schema":
            named: dict[str, Any] = {"name": "answer", "schema": wanted.schema}
            if not target.kind.strict_schema or is_strict(wanted.schema):
                named["strict"] = True
            return {"response_format": {"type": "json_schema", "json_schema": named}}
        case "regex" if target.kind.regex == "structured_outputs":
            return {"structured_outputs": {"regex": wanted.grammar}}
        case "regex" if target.kind.regex:
            return {target.kind.regex: wanted.grammar}
        case "lark" if target.kind.token_prompts and target.kind.regex == "guided_regex":
            return {"grammar": wanted.grammar}
        case _:
            raise _unable(target, f"follows no grammar of the kind {wanted.kind}")


def is_strict(schema: object) -> bool:
    """Whether every object of a schema names all its fields as required and allows no others."""
    if isinstance(schema, list):
        return all(is_strict(part) for part in cast("list[object]", schema))
    if not isinstance(schema, dict):
        return True
    fields = cast("dict[str, Any]", schema)
    if fields.get("type") == "object" or "properties" in fields:
        names = set(cast("dict[str, Any]", fields.get("properties") or {}))
        if fields.get("additionalProperties") is not False:
            return False
        if names != set(cast("list[str]", fields.get("required") or [])):
            return False
    return all(is_strict(part) for part in fields.values())


def _chat(request: GenerateRequest, prompt: ChatPrompt, target: Target) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "messages": [_message(message, target) for message in prompt.messages],
        **_tools(prompt, target),
        **_thinking(prompt, target),
    }
    if request.logprobs is not None:
        if "logprobs" not in target.abilities:
            raise _unable(target, "gives no log probabilities")
        fields |= {"logprobs": True, "top_logprobs": request.logprobs}
    return fields


def _message(message: ChatMessage, target: Target) -> dict[str, Any]:
    fields: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning and target.kind.reasoning_back:
        fields["reasoning_content"] = message.reasoning
    if message.tool_calls:
        fields["tool_calls"] = [_tool_call(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        fields["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        fields["name"] = message.name
    return fields


def _tool_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _tools(prompt: ChatPrompt, target: Target) -> dict[str, Any]:
    if not prompt.tools:
        return {}
    if "tools" not in target.abilities:
        raise _unable(target, "calls no functions")
    choice: Any = prompt.tool_choice.mode
    if name := prompt.tool_choice.name:
        choice = {"type": "function", "function": {"name": name}}
    fields: dict[str, Any] = {
        "tools": [{"type": "function", "function": _function(tool)} for tool in prompt.tools],
        "tool_choice": choice,
    }
    if not prompt.parallel_tool_calls:
        fields["parallel_tool_calls"] = False
    return fields


def _function(tool: Tool) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        fields["description"] = tool.description
    if tool.parameters is not None:
        fields["parameters"] = tool.parameters
    if tool.strict:
        fields["strict"] = True
    return fields


def _thinking(prompt: ChatPrompt, target: Target) -> dict[str, Any]:
    variables = prompt.template_variables
    if not variables:
        return {}
    if target.kind.template_variables:
        return {"chat_template_kwargs": variables}
    effort = variables.get("reasoning_effort")
    if variables.get("enable_thinking") is False:
        effort = "none"
    if target.kind.effort and effort in _EFFORTS:
        return {"reasoning_effort": effort}
    return {}


def _mark_continued(body: dict[str, Any], target: Target) -> None:
    match target.continues:
        case "message" | "prefill-message":
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        case "prefix" | "prefix-echo":
            body["messages"][-1]["prefix"] = True
        case _:
            pass


def _text(request: GenerateRequest, target: Target) -> dict[str, Any]:
    if "text" not in target.abilities:
        raise _unable(target, "takes conversations only, no bare text")
    prompt = request.prompt
    if isinstance(prompt, TextPrompt):
        fields: dict[str, Any] = {"prompt": prompt.text}
    elif target.kind.token_prompts and not isinstance(prompt, ChatPrompt):
        fields = {"prompt": list(prompt.tokens)}
    else:
        raise _unable(target, "takes no token ids; send text")
    if request.logprobs is not None:
        fields["logprobs"] = request.logprobs
    return fields


def _unable(target: Target, what: str) -> UnsupportedFeature:
    return UnsupportedFeature(f"{target.provider} {what}.")
