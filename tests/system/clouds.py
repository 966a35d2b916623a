"""What a client gets from any cloud through our node, whatever server stands behind it."""

import json
from typing import Any

import openai
import pytest
from tests.system.running_node import RunningNode

STORY: list[Any] = [{"role": "user", "content": "Tell me a story about a boat."}]
LONG: list[Any] = [{"role": "user", "content": "the boat " * 2500}]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"age": {"type": "integer", "enum": [7, 8]}},
    "required": ["age"],
    "additionalProperties": False,
}


def assert_schema_is_kept(front: RunningNode, messages: list[Any], max_tokens: int) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}
    answer = front.openai.chat.completions.create(
        model="far", messages=messages, max_tokens=max_tokens, response_format=form
    )
    assert json.loads(answer.choices[0].message.content or "")["age"] in (7, 8)


def assert_probabilities_and_bare_text(front: RunningNode) -> None:
    answer = front.openai.chat.completions.create(
        model="far", messages=STORY, logprobs=True, top_logprobs=2, max_tokens=3, temperature=0
    )
    entries = answer.choices[0].logprobs
    assert entries
    assert [len(one.top_logprobs) for one in entries.content or ()] == [2, 2, 2]
    text = front.openai.completions.create(
        model="far", prompt="Once upon a", max_tokens=2, temperature=0
    )
    assert text.choices[0].text.startswith(" time")


def assert_refused(front: RunningNode, asked: dict[str, Any], status: int, code: str) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        front.openai.chat.completions.create(**{"model": "far", "messages": STORY, **asked})
    assert caught.value.code == code
    assert caught.value.status_code == status
    assert "sk-" not in str(caught.value)
