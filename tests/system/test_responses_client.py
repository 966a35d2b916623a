"""OpenAI's Responses API of a real node on the starter model, through the official client."""

import json
from typing import Any

import openai
from pydantic import BaseModel

WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


class Age(BaseModel):
    age: int


def test_stream_is_the_plain_answer_in_pieces(client: openai.OpenAI) -> None:
    options: Any = {"model": "starter", "input": "Who are you?", "temperature": 0}
    plain = client.responses.create(**options)
    with client.responses.stream(**options) as stream:
        pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
        whole = stream.get_final_response()
    assert "Ember" in plain.output_text
    assert "".join(pieces) == whole.output_text == plain.output_text
    assert whole.usage is not None
    assert whole.usage.output_tokens == plain.usage.output_tokens  # type: ignore[union-attr]


def test_a_tool_is_called_and_its_result_is_read(client: openai.OpenAI) -> None:
    question: Any = {"role": "user", "content": "What is the weather in Paris?"}
    with client.responses.stream(
        model="starter", input=[question], tools=[WEATHER], tool_choice="required",
        parallel_tool_calls=False, max_output_tokens=200,
    ) as stream:  # fmt: skip
        response = stream.get_final_response()
    (call,) = [item for item in response.output if item.type == "function_call"]
    assert call.name == "get_weather"
    assert set(json.loads(call.arguments)) == {"city"}
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "18, sunny"}
    sent: Any = [item.to_dict() for item in response.output]
    whole = client.responses.create(
        model="starter", input=[question, *sent, result], tools=[WEATHER], tool_choice="none",
        max_output_tokens=20,
    )  # fmt: skip
    assert whole.output_text
    continued = client.responses.create(
        model="starter", previous_response_id=response.id, input=[result], tools=[WEATHER],
        tool_choice="none", max_output_tokens=20,
    )  # fmt: skip
    assert continued.usage is not None
    assert continued.usage.input_tokens == whole.usage.input_tokens  # type: ignore[union-attr]


def test_a_schema_is_kept(client: openai.OpenAI) -> None:
    response = client.responses.parse(
        model="starter", input="Describe a person as JSON.", text_format=Age, max_output_tokens=200
    )
    if response.status == "completed":
        assert isinstance(response.output_parsed, Age)
    assert response.output_text.replace(" ", "").startswith('{"age":')


def test_counted_tokens_are_those_of_the_answer(client: openai.OpenAI) -> None:
    options: Any = {"model": "starter", "input": "Hello!", "tools": [WEATHER]}
    counted = client.responses.input_tokens.count(**options)
    usage = client.responses.create(**options, max_output_tokens=1).usage
    assert usage is not None
    assert counted.input_tokens == usage.input_tokens
