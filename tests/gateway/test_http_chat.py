import base64

import pytest
from openai import OpenAI
from tests.fakes.fake_service import say
from tests.fakes.running_gateway import HELLO, RunningGateway
from tests.fakes.scripts import CALLS, LOGPROBS, USAGE

from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.protocol.requests import (
    ChatMessage,
    ChatPrompt,
    OutputFormat,
    Priority,
    Sampling,
    Tool,
    ToolCall,
    ToolChoice,
)

WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "now", "parameters": {"type": "object"}},
}


@pytest.fixture
def client(gateway: RunningGateway) -> OpenAI:
    return gateway.client()


def test_an_answer_has_openais_shape(gateway: RunningGateway, client: OpenAI) -> None:
    gateway.service.script = say("Hel", "lo", prompt=9, cached=4)
    with client:
        answer = client.chat.completions.create(
            model="starter", messages=[{"role": "user", "content": "hi"}]
        )
    assert answer.id.startswith("chatcmpl-")
    assert answer.object == "chat.completion"
    assert answer.model == "starter"
    assert answer.system_fingerprint
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content == "Hello"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].logprobs is None
    assert answer.usage is not None
    assert answer.usage.total_tokens == 11
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 4
    assert gateway.service.asked[0].request_id == answer.id.removeprefix("chatcmpl-")


def test_no_model_means_the_default_one(gateway: RunningGateway) -> None:
    assert gateway.post(json=HELLO).json()["model"] == "starter"
    assert gateway.service.asked[0].model == "starter"


def test_choices_are_kept_apart(gateway: RunningGateway) -> None:
    gateway.service.script = say("a", "b", n=3)
    choices = gateway.post(json={**HELLO, "n": 3}).json()["choices"]
    assert [(c["index"], c["message"]["content"]) for c in choices] == [
        (0, "ab"),
        (1, "ab"),
        (2, "ab"),
    ]


def test_reasoning_and_its_tokens_are_told(gateway: RunningGateway) -> None:
    gateway.service.script = [
        TokenChunk(reasoning="hm"),
        TokenChunk(text="yes", finish="stop", usage=USAGE),
    ]
    answer = gateway.post(json=HELLO).json()
    assert answer["choices"][0]["message"]["reasoning_content"] == "hm"
    assert answer["choices"][0]["message"]["content"] == "yes"
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == 2


def test_tool_calls_are_put_together(gateway: RunningGateway, client: OpenAI) -> None:
    gateway.service.script = CALLS
    with client:
        answer = client.chat.completions.create(
            model="starter",
            messages=[{"role": "user", "content": "weather?"}],
            tools=[WEATHER],  # pyright: ignore[reportArgumentType]
        )
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert choice.message.tool_calls is not None
    calls = [
        (c.id, c.function.arguments) for c in choice.message.tool_calls if c.type == "function"
    ]
    assert calls == [("a", '{"city":"Rome"}'), ("b", "{}")]


def test_logprobs_have_the_chat_shape(gateway: RunningGateway) -> None:
    gateway.service.script = LOGPROBS
    body = {**HELLO, "logprobs": True, "top_logprobs": 2}
    logprobs = gateway.post(json=body).json()["choices"][0]["logprobs"]
    assert logprobs["content"] == [
        {
            "token": "é",
            "logprob": -0.5,
            "bytes": [195, 169],
            "top_logprobs": [
                {"token": "é", "logprob": -0.5, "bytes": [195, 169]},
                {"token": "e", "logprob": -1, "bytes": [101]},
            ],
        }
    ]
    assert gateway.service.asked[0].logprobs == 2


def test_timings_come_only_when_asked(gateway: RunningGateway) -> None:
    assert "timings" not in gateway.post(json=HELLO).json()
    timings = gateway.post(json={**HELLO, "timings": True}).json()["timings"]
    assert timings["prompt_n"] == 5
    assert timings["predicted_n"] == 2


def test_all_of_a_request_arrives(gateway: RunningGateway) -> None:
    body = {
        "model": "org/big",
        "messages": [
            {"role": "developer", "content": "be kind"},
            {
                "role": "user",
                "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
            },
            {"role": "tool", "tool_call_id": "x", "content": "12"},
        ],
        "tools": [WEATHER, {"type": "web_search"}],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": -1,
        "min_p": 0.05,
        "repeat_penalty": 1.1,
        "presence_penalty": 1,
        "frequency_penalty": -1,
        "seed": 7,
        "logit_bias": {"15": -100},
        "max_tokens": 5,
        "max_completion_tokens": 9,
        "stop": "END",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {"a": 1}},
        },
        "reasoning_effort": "low",
        "chat_template_kwargs": {"enable_thinking": False},
        "service_tier": "flex",
        "ignore_eos": True,
        "user": "u",
        "metadata": {"a": "b"},
    }
    assert gateway.post(json=body).status_code == 200
    asked = gateway.service.asked[0]
    assert asked.model == "org/big"
    assert asked.prompt == ChatPrompt(
        messages=(
            ChatMessage(role="system", content="be kind"),
            ChatMessage(role="user", content="a\nb"),
            ChatMessage(role="assistant", tool_calls=(ToolCall(id="x", name="f", arguments="{}"),)),
            ChatMessage(role="tool", tool_call_id="x", content="12"),
        ),
        tools=(Tool(name="weather", description="now", parameters={"type": "object"}),),
        tool_choice=ToolChoice(mode="required", name="weather"),
        parallel_tool_calls=False,
        template_variables={"reasoning_effort": "low", "enable_thinking": False},
    )
    assert asked.sampling == Sampling(
        temperature=0.5,
        top_k=0,
        top_p=0.9,
        min_p=0.05,
        repetition_penalty=1.1,
        presence_penalty=1,
        frequency_penalty=-1,
        seed=7,
        logit_bias={15: -100},
    )
    assert asked.max_tokens == 9
    assert asked.stop == ("END",)
    assert asked.format == OutputFormat(kind="json_schema", schema={"a": 1})
    assert asked.priority is Priority.BATCH
    assert asked.ignore_eos


@pytest.mark.parametrize(
    ("fields", "form"),
    [
        ({"response_format": {"type": "text"}}, OutputFormat()),
        ({"response_format": {"type": "json_object"}}, OutputFormat(kind="json_object")),
        ({"guided_json": {"a": 1}}, OutputFormat(kind="json_schema", schema={"a": 1})),
        ({"guided_json": '{"a":1}'}, OutputFormat(kind="json_schema", schema={"a": 1})),
        ({"guided_regex": "a+"}, OutputFormat(kind="regex", grammar="a+")),
        ({"grammar": 'start: "a"'}, OutputFormat(kind="lark", grammar='start: "a"')),
    ],
)
def test_output_formats(gateway: RunningGateway, fields: dict[str, object], form: object) -> None:
    assert gateway.post(json={**HELLO, **fields}).status_code == 200
    assert gateway.service.asked[0].format == form


@pytest.mark.parametrize(
    ("fields", "priority"),
    [
        ({}, Priority.NORMAL),
        ({"priority": "batch"}, Priority.BATCH),
        ({"priority": "interactive"}, Priority.INTERACTIVE),
        ({"priority": -3}, Priority.INTERACTIVE),
        ({"priority": 5}, Priority.BATCH),
        ({"service_tier": "priority"}, Priority.INTERACTIVE),
        ({"service_tier": "auto"}, Priority.NORMAL),
    ],
)
def test_priorities(gateway: RunningGateway, fields: dict[str, object], priority: Priority) -> None:
    gateway.post(json={**HELLO, **fields})
    assert gateway.service.asked[0].priority is priority


@pytest.mark.parametrize(
    ("fields", "variables"),
    [
        ({"reasoning": {"effort": "high"}}, {"reasoning_effort": "high"}),
        ({"reasoning_effort": "none"}, {"enable_thinking": False}),
        ({"reasoning": {"enabled": True}}, {"enable_thinking": True}),
    ],
)
def test_thinking(
    gateway: RunningGateway, fields: dict[str, object], variables: dict[str, object]
) -> None:
    gateway.post(json={**HELLO, **fields})
    prompt = gateway.service.asked[0].prompt
    assert isinstance(prompt, ChatPrompt)
    assert prompt.template_variables == variables


def test_media_are_refused_in_clear_words(gateway: RunningGateway) -> None:
    image = base64.b64encode(b"png").decode()
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}
    body = {"messages": [{"role": "user", "content": [part]}]}
    error = gateway.error(400, json=body)
    assert error["code"] == "unsupported_feature"
    assert error["param"] == "messages[0].content[0].type"
    assert "text only" in error["message"]
