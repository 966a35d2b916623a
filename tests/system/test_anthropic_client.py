"""Anthropic's official client against a real node on the starter model."""

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from tests.system.running_node import RunningNode

HELLO: list[Any] = [{"role": "user", "content": "Hello!"}]
WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


@pytest.fixture
def claude(node: RunningNode) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=node.url, api_key="none", max_retries=0) as client:
        yield client


def words(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_plain_answer(claude: anthropic.Anthropic) -> None:
    message = claude.messages.create(
        model="starter",
        messages=[{"role": "user", "content": "Who are you?"}],
        max_tokens=60,
        extra_body={"temperature": 0},
    )
    assert "Ember" in words(message)
    assert message.stop_reason == "end_turn"
    assert message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0) > 5
    assert message.usage.output_tokens > 0


def test_stream_is_the_plain_answer_in_pieces(claude: anthropic.Anthropic) -> None:
    options: dict[str, Any] = {
        "model": "starter", "messages": HELLO, "max_tokens": 30, "extra_body": {"temperature": 0}
    }  # fmt: skip
    plain = claude.messages.create(**options)
    with claude.messages.stream(**options) as stream:
        pieces = list(stream.text_stream)
        whole = stream.get_final_message()
    assert "".join(pieces) == words(plain) == words(whole)
    assert whole.usage.output_tokens == plain.usage.output_tokens
    assert whole.stop_reason == plain.stop_reason


def test_a_tool_is_called_and_its_result_is_read(claude: anthropic.Anthropic) -> None:
    question: Any = {"role": "user", "content": "What is the weather in Paris?"}
    with claude.messages.stream(
        model="starter", messages=[question], tools=[WEATHER], max_tokens=200,
        tool_choice={"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True},
    ) as stream:  # fmt: skip
        message = stream.get_final_message()
    (call,) = [block for block in message.content if block.type == "tool_use"]
    assert message.stop_reason == "tool_use"
    assert call.name == "get_weather"
    assert set(call.input) == {"city"}  # type: ignore[arg-type]
    result: Any = {"type": "tool_result", "tool_use_id": call.id, "content": "18 degrees, sunny"}
    answer = claude.messages.create(
        model="starter",
        messages=[
            question,
            {"role": "assistant", "content": message.content},
            {"role": "user", "content": [result]},
        ],
        tools=[WEATHER],
        tool_choice={"type": "none"},
        max_tokens=30,
    )
    assert words(answer)


def test_stop_sequence_is_named(claude: anthropic.Anthropic) -> None:
    options: dict[str, Any] = {
        "model": "starter", "messages": [{"role": "user", "content": "Who are you?"}],
        "max_tokens": 40, "extra_body": {"temperature": 0},
    }  # fmt: skip
    full = words(claude.messages.create(**options))
    cut = claude.messages.create(**options, stop_sequences=["never", full[8:12]])
    assert words(cut) == full[: full.find(full[8:12])]
    assert (cut.stop_reason, cut.stop_sequence) == ("stop_sequence", full[8:12])


def test_the_beginning_of_an_answer_is_continued(claude: anthropic.Anthropic) -> None:
    options: dict[str, Any] = {
        "model": "starter", "max_tokens": 40, "extra_body": {"temperature": 0},
    }  # fmt: skip
    question: Any = {"role": "user", "content": "Who are you?"}
    full = words(claude.messages.create(messages=[question], **options))
    begun: Any = {"role": "assistant", "content": full[:10]}
    rest = words(claude.messages.create(messages=[question, begun], **options))
    assert full[:10] + rest == full


def test_counted_tokens_are_those_of_the_answer(claude: anthropic.Anthropic) -> None:
    options: dict[str, Any] = {
        "model": "starter", "messages": HELLO, "system": "Be brief.", "tools": [WEATHER],
    }  # fmt: skip
    counted = claude.messages.count_tokens(**options)
    usage = claude.messages.create(**options, max_tokens=1).usage
    assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)


def test_a_header_that_changes_does_not_spoil_the_cache(claude: anthropic.Anthropic) -> None:
    def ask(version: str) -> anthropic.types.Usage:
        header = f"x-anthropic-billing-header: cc_version={version}; cch={version};"
        return claude.messages.create(
            model="starter",
            system=[
                {"type": "text", "text": header},
                {"type": "text", "text": "You are a very careful assistant. " * 30},
            ],
            messages=HELLO,
            max_tokens=2,
        ).usage

    first, second = ask("one"), ask("two")
    assert first.cache_read_input_tokens == 0
    assert second.cache_read_input_tokens == first.input_tokens - 1
    assert second.input_tokens == 1


def test_a_prompt_that_is_too_long_is_refused(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long.*2048"):
        claude.messages.create(
            model="starter", messages=[{"role": "user", "content": "word " * 5000}], max_tokens=5
        )


def test_unknown_model_is_refused(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="claude-9"):
        claude.messages.create(model="claude-9", messages=HELLO, max_tokens=5)


def test_json_schema_is_kept(claude: anthropic.Anthropic) -> None:
    message = claude.messages.create(
        model="starter",
        messages=[{"role": "user", "content": "Describe a person as JSON."}],
        max_tokens=100,
        output_config={
            "format": {
                "type": "json_schema",
                "schema": {
                    "type": "object",
                    "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 150}},
                    "required": ["age"],
                    "additionalProperties": False,
                },
            }
        },
    )
    assert words(message).replace(" ", "").startswith('{"age":')
