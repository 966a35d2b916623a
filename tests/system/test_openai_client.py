"""The official client against a real node on the starter model."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from tests.system.running_node import RunningNode

HELLO: list[Any] = [{"role": "user", "content": "Hello!"}]
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "likes": {"type": "array", "items": {"enum": ["tea", "cats", "rain"]}, "maxItems": 3},
    },
    "required": ["name", "age", "likes"],
    "additionalProperties": False,
}


def test_plain_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="starter", messages=HELLO, max_tokens=20)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_stream_is_the_plain_answer_in_pieces(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {
        "model": "starter", "messages": HELLO, "temperature": 0, "max_tokens": 30
    }  # fmt: skip
    plain = client.chat.completions.create(**options)
    chunks = list(
        client.chat.completions.create(
            **options, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == plain.choices[0].message.content
    assert chunks[-1].choices == []
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens == plain.usage.completion_tokens  # type: ignore[union-attr]


def test_starter_says_who_it_is(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="starter", messages=[{"role": "user", "content": "Who are you?"}], temperature=0
    )
    assert "Ember" in (answer.choices[0].message.content or "")


def test_required_tool_is_called_with_valid_arguments(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="starter",
        messages=[{"role": "user", "content": "What is the weather in Paris?"}],
        tools=[WEATHER],
        tool_choice="required",
        max_tokens=200,
    )
    (call,) = (answer.choices[0].message.tool_calls or [])[:1]
    assert answer.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "get_weather"  # type: ignore[union-attr]
    assert set(json.loads(call.function.arguments)) == {"city"}  # type: ignore[union-attr]


def test_tool_call_streams_in_pieces(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="starter",
        messages=[{"role": "user", "content": "What is the weather in Paris?"}],
        tools=[WEATHER],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        max_tokens=200,
        stream=True,
    )
    names, arguments, finish = [], "", None
    for chunk in stream:
        for call in chunk.choices[0].delta.tool_calls or []:
            assert call.index == 0
            if call.function and call.function.name:
                names.append(call.function.name)
            arguments += (call.function.arguments or "") if call.function else ""
        finish = chunk.choices[0].finish_reason or finish
    assert names == ["get_weather"]
    assert "city" in json.loads(arguments)
    assert finish == "tool_calls"


def test_answer_to_a_tool_result(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="starter",
        messages=[
            {"role": "user", "content": "What is the weather in Paris?"},
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "18 degrees, sunny"},
        ],
        tools=[WEATHER],
        max_tokens=20,
    )
    assert answer.usage


def test_json_schema_is_kept(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="starter",
        messages=[{"role": "user", "content": "Describe a person as JSON."}],
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "person", "schema": PERSON, "strict": True},
        },
        max_tokens=300,
    )
    person = json.loads(answer.choices[0].message.content or "")
    assert set(person) == {"name", "age", "likes"}
    assert 0 <= person["age"] <= 150


def test_json_object_is_json(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="starter",
        messages=[{"role": "user", "content": 'Say {"a": 1}'}],
        response_format={"type": "json_object"},
        temperature=0,
        max_tokens=400,
    )
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)


def test_several_choices(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="starter", messages=HELLO, n=3, temperature=1.2, max_tokens=20
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2]


def test_a_seed_repeats_and_another_one_does_not(client: openai.OpenAI) -> None:
    """Best effort, as in OpenAI's API: the last bits of a sum depend on where its terms lie."""

    def answer(seed: int) -> str | None:
        done = client.chat.completions.create(
            model="starter", messages=HELLO, seed=seed, temperature=1.2, max_tokens=16
        )
        return done.choices[0].message.content

    first = [answer(seed) for seed in range(8)]
    again = [answer(seed) for seed in range(8)]
    assert sum(one == other for one, other in zip(first, again, strict=True)) >= 5
    assert len(set(first)) >= 5


def test_logprobs(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="starter", messages=HELLO, logprobs=True, top_logprobs=3, max_tokens=5, temperature=0
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs
    assert logprobs.content
    assert answer.usage
    assert len(logprobs.content) in (
        answer.usage.completion_tokens,
        answer.usage.completion_tokens - 1,
    )
    for entry in logprobs.content:
        assert entry.logprob <= 0
        assert [top.logprob for top in entry.top_logprobs] == sorted(
            (top.logprob for top in entry.top_logprobs), reverse=True
        )
    text = b"".join(bytes(entry.bytes or []) for entry in logprobs.content).decode()
    assert text.startswith(answer.choices[0].message.content or "")


def test_stop_string(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {
        "model": "starter", "messages": [{"role": "user", "content": "Who are you?"}],
        "temperature": 0, "max_tokens": 40,
    }  # fmt: skip
    full = client.chat.completions.create(**options).choices[0].message.content or ""
    stop = full[8:12]
    cut = client.chat.completions.create(**options, stop=[stop])
    assert cut.choices[0].message.content == full[: full.find(stop)]
    assert cut.choices[0].finish_reason == "stop"


def test_max_tokens_ends_with_length(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="starter", messages=HELLO, max_tokens=2)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage
    assert answer.usage.completion_tokens == 2


def test_text_completion(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="starter", prompt="Once upon a time", max_tokens=8)
    assert answer.choices[0].text


def test_cached_tokens_tell_the_truth(client: openai.OpenAI) -> None:
    messages: list[Any] = [
        {"role": "system", "content": "You are a careful assistant. " * 30},
        {"role": "user", "content": "Hello!"},
    ]
    first, second = (
        client.chat.completions.create(model="starter", messages=messages, max_tokens=4).usage
        for _ in range(2)
    )
    assert first
    assert second
    assert first.prompt_tokens_details
    assert second.prompt_tokens_details
    assert first.prompt_tokens_details.cached_tokens == 0
    assert second.prompt_tokens_details.cached_tokens == second.prompt_tokens - 1


@pytest.mark.parametrize(
    ("tier", "served"), [("auto", "default"), ("flex", "flex"), ("priority", "priority")]
)
def test_service_tier_is_told_as_it_was_served(
    client: openai.OpenAI, tier: Any, served: str
) -> None:
    options: dict[str, Any] = {"model": "starter", "messages": HELLO, "max_tokens": 4}
    plain = client.chat.completions.create(**options, service_tier=tier)
    assert plain.service_tier == served
    chunks = client.chat.completions.create(**options, service_tier=tier, stream=True)
    assert {chunk.service_tier for chunk in chunks} == {served}
    assert client.chat.completions.create(**options).service_tier is None


def test_an_unknown_service_tier_is_refused_by_name(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="starter", messages=HELLO, service_tier="now")  # type: ignore[arg-type]
    assert caught.value.param == "service_tier"
    assert "flex" in caught.value.message


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert "starter" in [model.id for model in client.models.list()]
    assert client.models.retrieve("starter").id == "starter"


def test_unknown_model_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-9", messages=HELLO)
    assert caught.value.code == "model_not_found"


def test_too_long_prompt_is_refused_with_the_numbers(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="starter", messages=[{"role": "user", "content": "word " * 5000}]
        )
    assert caught.value.code == "context_length_exceeded"
    assert "2048" in caught.value.message


def test_wrong_type_is_refused_by_name(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="starter", messages=HELLO, temperature="hot")  # type: ignore[arg-type]
    assert caught.value.param == "temperature"


def test_impossible_schema_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(
            model="starter",
            messages=HELLO,
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": {"type": "no such type"}},
            },
        )


def test_chat_model_gives_no_embeddings(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="starter", input="hello", encoding_format="float")
    assert caught.value.code == "unsupported_feature"


def test_thirty_two_at_once(client: openai.OpenAI) -> None:
    def ask(number: int) -> str:
        answer = client.chat.completions.create(
            model="starter",
            messages=[{"role": "user", "content": f"Hello number {number}!"}],
            max_tokens=10,
            temperature=0,
        )
        return answer.choices[0].message.content or ""

    with ThreadPoolExecutor(32) as pool:
        together = list(pool.map(ask, range(32)))
    alone = [ask(number) for number in range(0, 32, 8)]
    assert all(together)
    assert [together[number] for number in range(0, 32, 8)] == alone


def test_closed_stream_frees_its_slot(node: RunningNode, client: openai.OpenAI) -> None:
    # Others have asked this node before.
    start = node.wait_ready()["engine"]["generated_tokens"]
    stream = client.chat.completions.create(
        model="starter",
        messages=[{"role": "user", "content": "Tell me a story."}],
        max_tokens=1800,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    next(iter(stream))
    stream.close()
    node.wait_for(lambda: node.model()["engine"]["running"] == 0, 10)
    before = node.model()["engine"]["generated_tokens"]
    assert before - start < 1800
