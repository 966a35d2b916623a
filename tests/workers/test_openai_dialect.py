"""Servers that speak OpenAI's API, each in its own way."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tests.fakes.scripted_server import ScriptedServer, Seen, Step, delta, stream, usage, whole
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
from ai_assistant.protocol.errors import MalformedAnswer, UnsupportedFeature
from ai_assistant.protocol.requests import (
    ChatMessage,
    ChatPrompt,
    EmbedRequest,
    GenerateRequest,
    OutputFormat,
    Sampling,
    TextPrompt,
    TokenPrompt,
    Tool,
    ToolCall,
    ToolChoice,
)
from ai_assistant.workers.remote.openai_request import is_strict

WEATHER = Tool(name="weather", parameters={"type": "object", "properties": {}})


def asked(
    request: GenerateRequest,
    script: Sequence[Step] | Callable[[Seen], Sequence[Step]],
    kind: str = "openai-compatible",
    **settings: Any,
) -> tuple[list[TokenChunk], Seen]:
    """The pieces that come of a script, and what the server was sent."""

    async def run() -> tuple[list[TokenChunk], Seen]:
        answer = script if callable(script) else lambda _: script
        async with (
            ScriptedServer(answer).running() as server,
            worker_at(server.url + "/v1", kind, **settings) as worker,
        ):
            return await collect(worker, request), server.seen[-1]

    return asyncio.run(run())


def test_text_figures_and_end_arrive() -> None:
    script = stream(
        delta(role="assistant", content=""),
        delta(content="Hel"),
        delta(content="lo"),
        delta("stop"),
        usage(7, 2, prompt_tokens_details={"cached_tokens": 4},
              completion_tokens_details={"reasoning_tokens": 1}),
    )  # fmt: skip
    chunks, seen = asked(chat(), script)
    assert text_of(chunks) == "Hello"
    assert [chunk.finish for chunk in chunks] == [None, None, "stop"]
    assert chunks[-1].usage == Usage(
        prompt_tokens=7, completion_tokens=2, cached_tokens=4, reasoning_tokens=1
    )
    assert chunks[-1].timings is not None
    assert seen.path == "/v1/chat/completions"
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.body["stream_options"] == {"include_usage": True}
    assert seen.body["messages"] == [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]},
    ],
)
def test_reasoning_has_many_names(fields: dict[str, Any]) -> None:
    chunks, _ = asked(chat(), stream(delta(**fields), delta(content="so"), delta("stop")))
    assert reasoning_of(chunks) == "hm"
    assert text_of(chunks) == "so"


def call(index: int | None, name: str | None, arguments: str, call_id: str | None = None) -> Any:
    function = {"arguments": arguments, **({"name": name} if name else {})}
    return {"index": index, "function": function, **({"id": call_id} if call_id else {})}


def test_arguments_of_calls_are_streamed() -> None:
    script = stream(
        delta(tool_calls=[call(0, "weather", "", "a")]),
        delta(tool_calls=[call(0, None, '{"city":')]),
        delta(tool_calls=[call(0, None, '"Rome"}')]),
        delta(tool_calls=[call(1, "weather", "{}", "b")]),
        delta("tool_calls"),
        usage(9, 9),
    )
    chunks, seen = asked(chat(prompt={"tools": (WEATHER,)}), script)
    assert calls_of(chunks) == [("a", "weather", '{"city":"Rome"}'), ("b", "weather", "{}")]
    assert chunks[-1].finish == "tool_calls"
    assert seen.body["tools"][0]["function"]["name"] == "weather"
    assert seen.body["tool_choice"] == "auto"


@pytest.mark.parametrize("index", [0, None])
def test_calls_that_are_numbered_wrong_are_told_apart(index: int | None) -> None:
    """Some servers give every call the number 0, some none; and end with `stop`."""
    script = stream(
        delta(tool_calls=[call(index, "weather", '{"a":1}', "x")]),
        delta(tool_calls=[call(index, "weather", '{"a":', "y")]),
        delta(tool_calls=[call(index, None, "2}")]),
        delta("stop"),
    )
    chunks, _ = asked(chat(prompt={"tools": (WEATHER,)}), script)
    assert calls_of(chunks) == [("x", "weather", '{"a":1}'), ("y", "weather", '{"a":2}')]
    assert chunks[-1].finish == "tool_calls"


def test_a_server_that_counts_nothing_is_estimated() -> None:
    chunks, _ = asked(chat("x" * 400), stream(delta(content="a"), delta("length", content="b")))
    assert chunks[-1].finish == "length"
    assert chunks[-1].usage == Usage(prompt_tokens=104, completion_tokens=2, estimated=True)


@pytest.mark.parametrize("figures", [(-5, 2), (7, -2), (1 << 70, 2), (7, 1 << 63)])
def test_figures_that_cannot_be_are_not_believed(figures: tuple[int, int]) -> None:
    script = stream(delta(content="Hi"), delta("stop", content=" you"), usage(*figures))
    chunks, _ = asked(chat("x" * 400), script)
    assert chunks[-1].usage == Usage(prompt_tokens=104, completion_tokens=2, estimated=True)


def test_no_more_was_cached_than_there_was() -> None:
    cached = usage(7, 2, prompt_tokens_details={"cached_tokens": 900})
    chunks, _ = asked(chat("hi"), stream(delta("stop", content="Hi"), cached))
    assert chunks[-1].usage == Usage(prompt_tokens=7, completion_tokens=2, cached_tokens=7)


def test_an_answer_that_is_not_streamed_is_taken() -> None:
    message = {"role": "assistant", "content": "Hello", "reasoning_content": "hm"}
    body = {
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    }
    chunks, _ = asked(chat(), whole(body))
    assert (text_of(chunks), reasoning_of(chunks)) == ("Hello", "hm")
    assert chunks[-1].usage == Usage(prompt_tokens=3, completion_tokens=1)


def test_several_answers_are_kept_apart() -> None:
    script = stream(
        delta(index=0, content="a"), delta(index=1, content="b"),
        delta("stop", index=1), delta("length", index=0), usage(1, 2),
    )  # fmt: skip
    chunks, seen = asked(chat(n=2), script)
    assert {i: "".join(c.text for c in chunks if c.index == i) for i in (0, 1)} == {0: "a", 1: "b"}
    ends = [(chunk.index, chunk.finish, chunk.usage is not None) for chunk in chunks[-2:]]
    assert ends == [(1, "stop", False), (0, "length", True)]
    assert seen.body["n"] == 2


def test_logprobs_arrive() -> None:
    top = {"token": "b", "logprob": -2.0, "bytes": None}
    entry = {"token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": [top]}
    event = delta(content="é")
    event["choices"][0]["logprobs"] = {"content": [entry]}
    chunks, seen = asked(chat(logprobs=1), stream(event, delta("stop")))
    (logprob,) = chunks[0].logprobs
    assert (logprob.token, logprob.bytes, logprob.logprob) == ("é", b"\xc3\xa9", -0.5)
    assert (logprob.top[0].token, logprob.top[0].bytes) == ("b", b"b")
    assert (seen.body["logprobs"], seen.body["top_logprobs"]) == (True, 1)


def test_pieces_of_bytes_that_are_no_text_fail_cleanly() -> None:
    with pytest.raises(MalformedAnswer):
        asked(chat(), stream(delta(content="a"), '{"choices": [{"index": 0, "del'))


def test_a_choice_that_nobody_asked_for_fails_cleanly() -> None:
    with pytest.raises(MalformedAnswer):
        asked(chat(), stream(delta(index=5, content="a")))


def test_texts_and_tokens_go_to_completions() -> None:
    event = {"choices": [{"index": 0, "text": "x", "finish_reason": "stop"}]}
    request = GenerateRequest(request_id="r", model="m", prompt=TextPrompt("Once"), max_tokens=4)
    chunks, seen = asked(request, stream(event))
    assert (text_of(chunks), seen.path) == ("x", "/v1/completions")
    assert (seen.body["prompt"], seen.body["max_tokens"]) == ("Once", 4)
    request = GenerateRequest(request_id="r", model="m", prompt=TokenPrompt((1, 2)))
    _, seen = asked(request, stream(event), "vllm")
    assert seen.body["prompt"] == [1, 2]
    with pytest.raises(UnsupportedFeature):
        asked(request, stream(event), "openai-compatible")


def test_each_kind_gets_what_it_takes() -> None:
    request = chat(
        sampling=Sampling(temperature=0.5, top_k=5, min_p=0.1, seed=3, repetition_penalty=1.1),
        max_tokens=10,
        stop=("END",),
    )
    script = stream(delta("stop"))

    def sent(kind: str) -> dict[str, Any]:
        return asked(request, script, kind)[1].body

    openai, vllm, llama = sent("openai"), sent("vllm"), sent("llama-server")
    assert openai["max_completion_tokens"] == 10
    assert "top_k" not in openai
    assert "max_tokens" not in openai
    assert (vllm["top_k"], vllm["repetition_penalty"], vllm["max_tokens"]) == (5, 1.1, 10)
    assert (llama["repeat_penalty"], llama["stop"]) == (1.1, ["END"])
    assert "repetition_penalty" not in llama
    assert sent("mistral")["random_seed"] == 3


def test_what_a_server_cannot_do_is_refused_before_anything_is_sent() -> None:
    for request, kind in [
        (chat(format=OutputFormat(kind="lark", grammar="start: /a/")), "openai"),
        (chat(format=OutputFormat(kind="regex", grammar="a")), "llama-server"),
        (chat(stop=tuple("abcde")), "openai"),
        (chat(logprobs=1), "mistral"),
        (chat(ignore_eos=True), "openai"),
    ]:
        with pytest.raises(UnsupportedFeature) as caught:
            asked(request, stream(), kind)
        assert caught.value.retry_safe


def test_formats_are_asked_for_in_the_servers_words() -> None:
    strict = {"type": "object", "properties": {"a": {}}, "required": ["a"],
              "additionalProperties": False}  # fmt: skip
    loose = {"type": "object", "properties": {"a": {}}}
    script = stream(delta("stop"))

    def sent(server: str, **form: Any) -> dict[str, Any]:
        return asked(chat(format=OutputFormat(**form)), script, server)[1].body

    wanted = sent("openai", kind="json_schema", schema=strict)["response_format"]
    assert wanted["json_schema"] == {"name": "answer", "schema": strict, "strict": True}
    wanted = sent("openai", kind="json_schema", schema=loose)["response_format"]
    assert "strict" not in wanted["json_schema"]
    assert sent("vllm", kind="regex", grammar="[ab]")["structured_outputs"] == {"regex": "[ab]"}
    assert sent("ai-assistant", kind="regex", grammar="[ab]")["guided_regex"] == "[ab]"
    assert sent("ai-assistant", kind="lark", grammar="start: /a/")["grammar"] == "start: /a/"


def test_narrow_schemas_are_known() -> None:
    inner = {"type": "object", "properties": {}, "additionalProperties": False}
    outer = {"properties": {"a": inner}, "required": ["a"], "additionalProperties": False}
    assert is_strict(outer)
    assert not is_strict({**outer, "required": []})
    assert not is_strict({"anyOf": [{"type": "object"}]})


def test_earlier_turns_arrive_whole() -> None:
    called = ToolCall(id="a", name="weather", arguments="{}")
    prompt = ChatPrompt(
        messages=(
            ChatMessage(role="system", content="Be brief."),
            ChatMessage(role="assistant", reasoning="hm", tool_calls=(called,)),
            ChatMessage(role="tool", content="sunny", tool_call_id="a"),
        ),
        tools=(WEATHER,),
        tool_choice=ToolChoice(mode="required", name="weather"),
        parallel_tool_calls=False,
        template_variables={"enable_thinking": False},
    )
    request = GenerateRequest(request_id="r", model="m", prompt=prompt)
    _, seen = asked(request, stream(delta("stop")), "vllm")
    assert seen.body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]},
        {"role": "tool", "content": "sunny", "tool_call_id": "a"},
    ]  # fmt: skip
    assert seen.body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert seen.body["parallel_tool_calls"] is False
    assert seen.body["chat_template_kwargs"] == {"enable_thinking": False}
    _, seen = asked(request, stream(delta("stop")), "openai")
    assert "reasoning_content" not in seen.body["messages"][1]
    assert seen.body["reasoning_effort"] == "none"


def test_vectors_come_back_in_order_and_of_unit_length() -> None:
    body = {
        "data": [{"index": 1, "embedding": [0.0, 2.0]}, {"index": 0, "embedding": [3.0, 4.0]}],
        "usage": {"prompt_tokens": 5},
    }

    async def run() -> None:
        async with (
            ScriptedServer(lambda _: whole(body)).running() as server,
            worker_at(server.url) as worker,
        ):
            inputs = (TextPrompt("a"), TextPrompt("b"))
            found = await worker.embed(EmbedRequest(request_id="r", model="m", inputs=inputs))
            assert found.vectors[1] == b"\0\0\0\0\0\0\x80\x3f"
            assert (found.dimensions, found.prompt_tokens) == (2, 5)
            assert server.seen[0].body["input"] == ["a", "b"]

    asyncio.run(run())
