"""Tokens, templates, properties, slots and reranking on real models."""

from pathlib import Path
from typing import Any

import pytest
from tests.system.conftest import StartNode
from tests.system.running_node import RunningNode


def post(node: RunningNode, path: str, **body: Any) -> Any:
    answer = node.http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_text_becomes_tokens_and_text_again(node: RunningNode) -> None:
    text = "Hello 🦊, 狐狸!"
    tokens = post(node, "/tokenize", content=text)["tokens"]
    assert post(node, "/detokenize", tokens=tokens) == {"content": text}
    pieces = post(node, "/tokenize", content=text, with_pieces=True)["tokens"]
    assert [piece["id"] for piece in pieces] == tokens
    parts = [p["piece"] for p in pieces]
    data = b"".join(p.encode() if isinstance(p, str) else bytes(p) for p in parts)
    assert data.decode() == text


def test_the_template_is_the_one_that_is_computed(node: RunningNode) -> None:
    messages: Any = [{"role": "user", "content": "Hello!"}]
    prompt = post(node, "/apply-template", messages=messages)["prompt"]
    assert "Hello!" in prompt
    options: Any = {"model": "starter", "temperature": 0, "max_tokens": 20}
    chat = node.openai.chat.completions.create(messages=messages, **options)
    text = node.openai.completions.create(prompt=prompt, **options)
    assert text.choices[0].text == chat.choices[0].message.content
    assert text.usage == chat.usage or text.usage.prompt_tokens == chat.usage.prompt_tokens  # type: ignore[union-attr]


def test_properties_and_slots(node: RunningNode) -> None:
    props = node.http.get("/props").json()
    slots = node.http.get("/slots").json()
    assert props["default_generation_settings"]["n_ctx"] == 2048
    assert props["total_slots"] == len(slots) > 0


def test_a_reranking_model_scores_pairs(
    start_node: StartNode, tiny_models: dict[str, Path]
) -> None:
    reranker, embedder = tiny_models["tiny-reranker"], tiny_models["tiny-embedding"]
    node = start_node("--model", str(reranker), "--model", str(embedder))
    texts = ["a thing", "another one", "a thing"]
    question: Any = {"model": "tiny-reranker", "query": "what is this", "documents": texts}
    found = post(node, "/v1/rerank", **question)["results"]
    scores = {entry["index"]: entry["relevance_score"] for entry in found}
    assert [entry["relevance_score"] for entry in found] == sorted(scores.values(), reverse=True)
    assert scores[0] == pytest.approx(scores[2], abs=1e-5)
    assert scores[0] != pytest.approx(scores[1], abs=1e-3)
    other = post(node, "/v1/rerank", **question | {"query": "no"})["results"]
    assert {entry["index"]: entry["relevance_score"] for entry in other}[0] != scores[0]
    alone = post(node, "/v1/rerank", **question | {"documents": texts[1:2]})["results"]
    assert alone[0]["relevance_score"] == pytest.approx(scores[1], abs=1e-4)
    refused = node.http.post("/v1/embeddings", json={"model": "tiny-reranker", "input": "a"})
    assert "/v1/rerank" in refused.json()["error"]["message"]
    for model in ("tiny-embedding", "starter"):
        answer = node.http.post("/v1/rerank", json=question | {"model": model})
        assert answer.json()["error"]["code"] == "unsupported_feature"
    assert len(post(node, "/tokenize", model="tiny-embedding", content="a thing")["tokens"]) > 1
