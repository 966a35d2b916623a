"""Ollama's official client against a real node on the starter model."""

import json
from collections.abc import Iterator
from typing import Any

import ollama
import pytest
from tests.system.running_node import RunningNode

HELLO: list[Any] = [{"role": "user", "content": "Hello!"}]
GREEDY = {"temperature": 0, "num_predict": 30}


@pytest.fixture
def llama(node: RunningNode) -> Iterator[ollama.Client]:
    client = ollama.Client(host=node.url)
    yield client
    client._client.close()


def test_plain_answer_with_its_measures(llama: ollama.Client) -> None:
    answer = llama.chat(
        model="starter", messages=[{"role": "user", "content": "Who are you?"}], options=GREEDY
    )
    assert "Ember" in (answer.message.content or "")
    assert answer.prompt_eval_count
    assert answer.eval_count
    parts = (answer.load_duration, answer.prompt_eval_duration, answer.eval_duration)
    assert all(part is not None and part >= 0 for part in parts)
    assert sum(part or 0 for part in parts) <= (answer.total_duration or 0)


def test_stream_is_the_plain_answer_in_pieces(llama: ollama.Client) -> None:
    plain = llama.chat(model="starter", messages=HELLO, options=GREEDY)
    pieces = list(llama.chat(model="starter", messages=HELLO, options=GREEDY, stream=True))
    assert "".join(piece.message.content or "" for piece in pieces) == plain.message.content
    assert pieces[-1].eval_count == plain.eval_count


def test_a_prompt_and_raw_text(llama: ollama.Client) -> None:
    assert llama.generate(model="starter:latest", prompt="Who are you?", options=GREEDY).response
    raw = llama.generate(model="starter", prompt="Once upon a time", raw=True, options=GREEDY)
    assert raw.response
    assert raw.prompt_eval_count
    assert raw.prompt_eval_count < 10


def test_a_schema_is_kept(llama: ollama.Client) -> None:
    schema = {
        "type": "object",
        "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 150}},
        "required": ["age"],
    }
    answer = llama.chat(
        model="starter",
        messages=[{"role": "user", "content": "Describe a person as JSON."}],
        format=schema,
        options={"num_predict": 100},
    )
    said = json.loads(answer.message.content or "")
    assert set(said) == {"age"}
    assert 0 <= said["age"] <= 150


def test_a_model_is_loaded_listed_and_described(llama: ollama.Client) -> None:
    assert llama.generate(model="starter").done_reason == "load"
    assert "starter" in [entry.model for entry in llama.list().models]
    (running,) = [entry for entry in llama.ps().models if entry.model == "starter"]
    assert running.context_length == 2048
    shown = llama.show("starter")
    assert shown.details is not None
    assert shown.details.format == "gguf"
    assert shown.capabilities is not None
    assert "completion" in shown.capabilities


def test_chat_model_gives_no_embeddings(llama: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="embedding model"):
        llama.embed(model="starter", input="hello")


def test_unknown_model_is_refused(llama: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        llama.chat(model="llama9", messages=HELLO)
    assert caught.value.status_code == 404
