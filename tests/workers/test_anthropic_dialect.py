"""Anthropic's Messages API, with a server that answers as its documentation shows."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.fakes.scripted_server import (
    ScriptedServer,
    Seen,
    Step,
    message,
    stream,
    text_block,
    whole,
)
from tests.workers.remote_tools import (
    KEY,
    calls_of,
    chat,
    collect,
    reasoning_of,
    text_of,
    worker_at,
)

from ai_assistant.protocol.chunks import TokenChunk, Usage
from ai_assistant.protocol.errors import (
    ContextLengthExceeded,
    ProviderOverloaded,
    ProviderRateLimited,
    UnsupportedFeature,
)
from ai_assistant.protocol.requests import (
    ChatMessage,
    ChatPrompt,
    GenerateRequest,
    OutputFormat,
    Partial,
    Sampling,
    TextPrompt,
    Tool,
    ToolCall,
    ToolChoice,
)
from ai_assistant.workers.remote.anthropic_request import thinking

WEATHER = Tool(name="weather", description="Tells it.", parameters={"type": "object"})


def asked(request: GenerateRequest, script: Sequence[Step]) -> tuple[list[TokenChunk], Seen]:
    async def run() -> tuple[list[TokenChunk], Seen]:
        async with (
            ScriptedServer(lambda _: script).running() as server,
            worker_at(server.url + "/v1", "anthropic") as worker,
        ):
            return await collect(worker, request), server.seen[-1]

    return asyncio.run(run())


def said(*blocks: list[Any], **fields: Any) -> list[Step]:
    return stream(*message(*blocks, **fields), done=False)


def test_text_thoughts_figures_and_end_arrive() -> None:
    thinking = [
        {"type": "thinking", "thinking": ""},
        {"type": "thinking_delta", "thinking": "hm"},
        {"type": "signature_delta", "signature": "x"},
    ]
    script = said(thinking, text_block("Hel", "lo"), cached=100, stop=None)
    chunks, seen = asked(chat(), script)
    assert (reasoning_of(chunks), text_of(chunks)) == ("hm", "Hello")
    assert chunks[-1].finish == "stop"
    assert chunks[-1].usage == Usage(prompt_tokens=109, completion_tokens=12, cached_tokens=100)
    assert seen.path == "/v1/messages"
    assert seen.headers["x-api-key"] == KEY
    assert seen.headers["anthropic-version"] == "2023-06-01"
    assert seen.body["max_tokens"] == 8192


def test_arguments_of_calls_are_streamed() -> None:
    first = [
        {"type": "tool_use", "id": "a", "name": "weather", "input": {}},
        {"type": "input_json_delta", "partial_json": ""},
        {"type": "input_json_delta", "partial_json": '{"city":'},
        {"type": "input_json_delta", "partial_json": '"Rome"}'},
    ]
    second = [{"type": "tool_use", "id": "b", "name": "weather", "input": {}}]
    request = chat(prompt={"tools": (WEATHER,), "parallel_tool_calls": False})
    chunks, seen = asked(request, said(text_block("Well."), first, second, reason="tool_use"))
    assert calls_of(chunks) == [("a", "weather", '{"city":"Rome"}'), ("b", "weather", "{}")]
    assert chunks[-1].finish == "tool_calls"
    assert seen.body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    (tool,) = seen.body["tools"]
    assert tool == {
        "name": "weather",
        "description": "Tells it.",
        "input_schema": {"type": "object"},
    }


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("max_tokens", "length"),
        ("stop_sequence", "stop"),
        ("refusal", "content_filter"),
        ("new", "stop"),
    ],
)
def test_reasons_of_the_end_are_translated(reason: str, finish: str) -> None:
    chunks, _ = asked(chat(stop=("END",)), said(text_block("a"), reason=reason, stop="END"))
    assert (chunks[-1].finish, chunks[-1].stop) == (finish, "END")


def test_an_answer_that_is_not_streamed_is_taken() -> None:
    body = {
        "content": [
            {"type": "text", "text": "Hello"},
            {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 3, "output_tokens": 4},
    }
    chunks, _ = asked(chat(prompt={"tools": (WEATHER,)}), whole(body))
    assert text_of(chunks) == "Hello"
    assert calls_of(chunks) == [("a", "f", '{"x":1}')]
    assert chunks[-1].usage == Usage(prompt_tokens=3, completion_tokens=4)


def test_json_is_asked_for_through_a_function() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    block = [
        {"type": "tool_use", "id": "t", "name": "json_answer", "input": {}},
        {"type": "input_json_delta", "partial_json": '{"a":'},
        {"type": "input_json_delta", "partial_json": " 1}"},
    ]
    request = chat(format=OutputFormat(kind="json_schema", schema=schema))
    chunks, seen = asked(request, said(block, reason="tool_use"))
    assert (text_of(chunks), chunks[-1].finish) == ('{"a": 1}', "stop")
    assert seen.body["tools"][0]["input_schema"] == schema
    assert seen.body["tool_choice"] == {"type": "tool", "name": "json_answer"}


def test_earlier_turns_alternate_and_keep_their_calls() -> None:
    called = ToolCall(id="call:1/x", name="weather", arguments='{"city": "Rome"}')
    prompt = ChatPrompt(
        messages=(
            ChatMessage(role="system", content="Be brief."),
            ChatMessage(role="user", content="Weather?"),
            ChatMessage(role="user", content="Now!"),
            ChatMessage(role="assistant", content="", tool_calls=(called,)),
            ChatMessage(role="tool", content="sunny", tool_call_id="call:1/x"),
            ChatMessage(role="user", content="Sure?"),
        ),
        tools=(WEATHER,),
        tool_choice=ToolChoice(mode="required"),
        template_variables={"reasoning_effort": "low"},
    )
    request = GenerateRequest(
        request_id="r", model="m", prompt=prompt, sampling=Sampling(temperature=1.7, top_p=0.5)
    )
    _, seen = asked(request, said(text_block("a")))
    assert seen.body["system"] == "Be brief."
    assert [turn["role"] for turn in seen.body["messages"]] == ["user", "assistant", "user"]
    use, result = seen.body["messages"][1]["content"][0], seen.body["messages"][2]["content"][0]
    assert use["input"] == {"city": "Rome"}
    assert use["id"] == result["tool_use_id"] == "call_1_x"
    assert seen.body["tool_choice"] == {"type": "any"}
    assert (seen.body["temperature"], "top_p" in seen.body) == (1.0, False)
    assert "thinking" not in seen.body  # a function is forced


def test_thinking_gets_room_beside_the_answer() -> None:
    variables = {"template_variables": {"reasoning_effort": "low"}}
    _, seen = asked(chat(prompt=variables, max_tokens=100), said(text_block("a")))
    assert seen.body["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert seen.body["max_tokens"] == 2148
    assert thinking(chat(prompt=variables, max_tokens=100)) == 2048
    assert thinking(chat(max_tokens=100)) == 0


def test_a_message_is_continued_without_its_last_space() -> None:
    """The API refuses spaces at the end, so the model writes them again."""
    request = chat(partial=Partial(text="One two ", generated=2), max_tokens=10)
    for reply, rest in [
        ((" three",), "three"),
        (("three",), "three"),
        ((" ", "\n", "three"), "\nthree"),
    ]:
        chunks, seen = asked(request, said(text_block(*reply)))
        assert text_of(chunks) == rest
        assert seen.body["messages"][-1] == {
            "role": "assistant",
            "content": [{"type": "text", "text": "One two"}],
        }
        assert seen.body["max_tokens"] == 8


def test_what_it_cannot_do_is_refused_before_anything_is_sent() -> None:
    for request in [
        chat(n=2),
        chat(logprobs=1),
        chat(format=OutputFormat(kind="regex", grammar="a")),
        chat(format=OutputFormat(kind="json_object"), prompt={"tools": (WEATHER,)}),
        GenerateRequest(request_id="r", model="m", prompt=TextPrompt("a")),
    ]:
        with pytest.raises(UnsupportedFeature):
            asked(request, said(text_block("a")))


@pytest.mark.parametrize(
    ("status", "kind", "words", "expected"),
    [
        (529, "overloaded_error", "Overloaded", ProviderOverloaded),
        (429, "rate_limit_error", "slow down", ProviderRateLimited),
        (400, "invalid_request_error", "prompt is too long: 9 > 5", ContextLengthExceeded),
    ],
)
def test_errors_keep_their_meaning_at_the_start_and_inside(
    status: int, kind: str, words: str, expected: type[Exception]
) -> None:
    error = {"type": "error", "error": {"type": kind, "message": words}}
    with pytest.raises(expected):
        asked(chat(), whole(error, status=status))
    begun = message(text_block("One"))[:4]
    with pytest.raises(expected) as caught:
        asked(chat(), stream(*begun, error, done=False))
    assert caught.value.reached.characters == 3
