"""Whatever a body holds, it becomes a request that can travel on, or a fault with a name."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_assistant.gateway import wire_anthropic, wire_ollama, wire_responses
from ai_assistant.gateway.keys import Standing
from ai_assistant.protocol.errors import RequestError
from ai_assistant.protocol.requests import GenerateRequest

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(
        ["user", "assistant", "system", "tool", "text", "input_text", "tool_use", "tool_result",
         "thinking", "image", "function", "custom", "function_call", "function_call_output",
         "reasoning", "message", "json_schema", "auto", "any", "required", "enabled"]
    )
)  # fmt: skip
names = st.sampled_from(
    ["role", "content", "type", "text", "id", "name", "input", "tool_use_id", "call_id", "thinking",
     "arguments", "function", "tool_calls", "output", "summary", "images", "schema", "format",
     "source", "parameters", "input_schema", "mode", "tools", "effort", "stop", "seed", "top_k"]
)  # fmt: skip
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=5),
    max_leaves=20,
)
fields = st.sampled_from(
    ["model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "input",
     "max_tokens", "stop_sequences", "temperature", "top_k", "instructions", "text", "reasoning",
     "include", "metadata", "options", "format", "think", "keep_alive", "prompt", "raw", "suffix",
     "previous_response_id", "background", "stream", "service_tier", "top_logprobs", "logprobs"]
)  # fmt: skip
STANDING = Standing()


def _anthropic(body: bytes) -> GenerateRequest:
    wire = wire_anthropic.read_messages(body)
    return wire_anthropic.to_request(wire, request_id="r", model="m", standing=STANDING)


def _responses(body: bytes) -> GenerateRequest:
    wire = wire_responses.read_response(body)
    messages = wire_responses.new_messages(wire)
    return wire_responses.to_request(wire, messages, request_id="r", model="m", standing=STANDING)


def _ollama_chat(body: bytes) -> GenerateRequest:
    wire = wire_ollama.read_chat(body)
    prompt = wire_ollama.chat_prompt(wire)
    return wire_ollama.to_request(wire, prompt, request_id="r", model="m", standing=STANDING)


def _ollama_generate(body: bytes) -> GenerateRequest:
    wire = wire_ollama.read_generate(body)
    prompt = wire_ollama.single_prompt(wire)
    return wire_ollama.to_request(wire, prompt, request_id="r", model="m", standing=STANDING)


@pytest.mark.parametrize("read", [_anthropic, _responses, _ollama_chat, _ollama_generate])
@given(extra=st.dictionaries(fields, anything, max_size=6), talk=st.lists(anything, max_size=3))
def test_any_body_is_a_request_or_a_named_fault(
    read: Callable[[bytes], GenerateRequest], extra: dict[str, Any], talk: list[Any]
) -> None:
    body = {"model": "m", "messages": talk, "input": talk, "max_tokens": 5, "prompt": "p", **extra}
    try:
        request = read(json.dumps(body).encode())
    except RequestError:
        return
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(request), type=GenerateRequest) == request
