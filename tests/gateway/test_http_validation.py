from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes.running_gateway import HELLO, RunningGateway

USER = {"role": "user", "content": "hi"}


WRONG: list[tuple[dict[str, Any], str | None]] = [
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": [{"content": "a"}]}, "messages[0].role"),
    ({"messages": [{"role": 1}]}, "messages[0].role"),
    ({"messages": [USER, {"role": "wizard", "content": ""}]}, "messages[1].role"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    (
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        "messages[0].content[0].text",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "hologram"}]}]},
        "messages[0].content[0].type",
    ),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]},
        "messages[0].tool_calls[0].function.name",
    ),
    ({"model": 3}, "model"),
    ({"stream": "yes"}, "stream"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_p": 1.5}, "top_p"),
    ({"top_k": -2}, "top_k"),
    ({"top_k": 1.5}, "top_k"),
    ({"min_p": 2}, "min_p"),
    ({"repeat_penalty": 0}, "repeat_penalty"),
    ({"presence_penalty": 3}, "presence_penalty"),
    ({"frequency_penalty": -3}, "frequency_penalty"),
    ({"seed": 1 << 64}, "seed"),
    ({"seed": "a"}, "seed"),
    ({"n": 0}, "n"),
    ({"n": 17}, "n"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": -2}, "max_tokens"),
    ({"max_completion_tokens": 0}, "max_completion_tokens"),
    ({"stop": 5}, "stop"),
    ({"stop": ["a"] * 17}, "stop"),
    ({"stop": ["a", 5]}, "stop[1]"),
    ({"logit_bias": {"5": 101}}, "logit_bias"),
    ({"logit_bias": {"x": 1}}, "logit_bias"),
    ({"logit_bias": {"-1": 1}}, "logit_bias"),
    ({"logit_bias": {str(1 << 40): 1}}, "logit_bias"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"top_logprobs": 1}, "top_logprobs"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
    ({"response_format": {}}, "response_format.type"),
    ({"response_format": {"type": "json_object"}, "grammar": "a"}, "response_format"),
    ({"guided_json": "{"}, "guided_json"),
    ({"guided_json": {"a": 1 << 63}}, None),
    ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
    ({"tools": 5}, "tools"),
    ({"tool_choice": "maybe"}, "tool_choice"),
    ({"tool_choice": "required"}, "tool_choice"),
    (
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        "tool_choice.function.name",
    ),
    ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice.type"),
    ({"functions": [{"name": "f"}]}, "functions"),
    ({"priority": "urgent"}, "priority"),
    ({"chat_template_kwargs": {"a": 1 << 70}}, "chat_template_kwargs"),
    ({"chat_template_kwargs": {"a": 1 << 62}}, None),
]


@pytest.mark.parametrize(("fields", "param"), WRONG)
def test_what_is_wrong_is_named(
    gateway: RunningGateway, fields: dict[str, Any], param: str | None
) -> None:
    if param is None:
        assert gateway.post(json={**HELLO, **fields}).status_code == 200
        return
    error = gateway.error(400, json={**HELLO, **fields})
    assert error["param"] == param
    assert param in error["message"]
    assert not gateway.service.asked


def test_messages_are_plain_words(gateway: RunningGateway) -> None:
    error = gateway.error(400, json={"messages": [{"role": 1}]})
    assert error["message"] == "messages[0].role: expected a string, got an integer"
    error = gateway.error(400, json={"messages": [USER], "temperature": 3})
    assert error["message"] == "temperature: expected a number <= 2.0"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "ends in the middle (0 bytes)"),
        (b'{"messages": [', "ends in the middle (14 bytes)"),
        (b'{"messages": NaN}', "byte 13"),
        (b'{"messages": [{"role": "user"}]} x', "trailing characters"),
        (b'{"model": "\xff"}', "position 11"),
        (b'{"messages": [{"role": "\xc3("}]}', "position 24"),
        (b'{"messages": [{"role": "\\ud800x"}]}', "escape"),
        (b"[]", "expected an object, got a list"),
        (b"5", "expected an object"),
        (b'{"a":' + b"[" * 100_000, "nested too deeply"),
        (b'{"temperature": 1e999}', "out of range"),
        (b'{"n": ' + b"9" * 5000 + b"}", "out of range"),
    ],
    ids=range(12),
)
def test_broken_bodies_are_told_where(gateway: RunningGateway, body: bytes, words: str) -> None:
    error = gateway.error(400, content=body)
    assert error["code"] == "invalid_request"
    assert words in error["message"]


def test_compressed_bodies_are_refused(gateway: RunningGateway) -> None:
    error = gateway.error(400, content=b"x", headers={"content-encoding": "gzip"})
    assert error["code"] == "unsupported_feature"


scalars: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
parts: st.SearchStrategy[Any] = st.lists(
    st.fixed_dictionaries({"type": values}, optional={"text": values}), max_size=2
)
messages: st.SearchStrategy[Any] = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "tool"]) | values},
        optional={"content": st.text() | parts | values, "tool_calls": values, "name": values},
    ),
    max_size=2,
)
SAMPLING = "temperature top_p top_k min_p repeat_penalty presence_penalty seed logit_bias n stop"
OUTPUT = "max_tokens max_completion_tokens response_format guided_json grammar logprobs"
CHAT = "top_logprobs tools tool_choice functions reasoning reasoning_effort chat_template_kwargs"
OTHERS = "model stream stream_options priority service_tier timings echo suffix best_of prompt"
EMBEDDINGS = "input encoding_format dimensions unknown"
FIELDS = [name for names in (SAMPLING, OUTPUT, CHAT, OTHERS, EMBEDDINGS) for name in names.split()]
bodies: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {"messages": messages | values},
    optional=dict.fromkeys(FIELDS, values),
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    body=bodies | values,
    path=st.sampled_from(["/v1/chat/completions", "/v1/completions", "/v1/embeddings"]),
)
def test_any_json_gets_an_answer_or_a_named_error(
    gateway: RunningGateway, body: Any, path: str
) -> None:
    answer = gateway.shared.post(gateway.url + path, content=gateway.as_json(body))
    assert answer.status_code == 200 or 400 <= answer.status_code < 500, answer.text
    if answer.status_code != 200:
        assert {"message", "type", "code", "param"} == set(answer.json()["error"])


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=st.binary(max_size=60))
def test_any_bytes_get_an_answer_or_a_named_error(gateway: RunningGateway, body: bytes) -> None:
    answer = gateway.shared.post(gateway.url + "/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_request"
