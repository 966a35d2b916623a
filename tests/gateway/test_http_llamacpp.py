"""What llama.cpp's server offers beside OpenAI's API, and reranking."""

from typing import Any

import pytest
from tests.fakes.fake_service import model
from tests.fakes.running_gateway import RunningGateway, RunningGateways

from ai_assistant.protocol.chunks import Embeddings
from ai_assistant.protocol.errors import UnsupportedFeature
from ai_assistant.protocol.requests import ChatPrompt, TextPrompt, TokenPrompt

SCORES = Embeddings(
    vectors=tuple(map(bytes.fromhex, ("0000803f", "000000c0", "00004040"))),  # 1, -2, 3
    dimensions=1,
    prompt_tokens=9,
)
QUESTION: Any = {"query": "What?", "documents": ["one", {"text": "two"}, "three"]}


def test_a_text_becomes_tokens_and_text_again(gateway: RunningGateway) -> None:
    body = {"content": "hé", "add_special": True, "parse_special": False}
    tokens = gateway.post("/tokenize", json=body).json()["tokens"]
    asked = gateway.service.tokenized[-1]
    assert asked.prompt == TextPrompt("hé")
    assert (asked.add_special, asked.parse_special, asked.model) == (True, False, "starter")
    assert gateway.post("/detokenize", json={"tokens": tokens}).json() == {"content": "hé"}
    assert gateway.service.tokenized[-1].prompt == TokenPrompt(tuple(tokens))
    gateway.post("/tokenize", json={"content": "hi", "model": "org/big"})
    asked = gateway.service.tokenized[-1]
    assert (asked.add_special, asked.parse_special, asked.model) == (False, True, "org/big")


def test_pieces_are_text_where_they_can_be(gateway: RunningGateway) -> None:
    body = {"content": "hi", "with_pieces": True}
    found = gateway.post("/tokenize", json=body).json()["tokens"]
    assert found == [{"id": 104, "piece": "h"}, {"id": 105, "piece": "i"}]


def test_a_chat_request_becomes_the_text_that_the_model_reads(gateway: RunningGateway) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "enable_thinking": False}
    assert gateway.post("/apply-template", json=body).json() == {"prompt": "hi\n"}
    prompt = gateway.service.tokenized[-1].prompt
    assert isinstance(prompt, ChatPrompt)
    assert prompt.template_variables == {"enable_thinking": False}


def test_properties_and_slots_wake_no_model(gateway: RunningGateway) -> None:
    gateway.service.models = (model("starter", state="unloaded", default=True),)
    props = gateway.get("/props").json()
    assert props["default_generation_settings"]["n_ctx"] == 2048
    assert (props["model_alias"], props["is_sleeping"]) == ("starter", True)
    assert gateway.get("/slots").json() == []
    assert gateway.get("/props?model=other").status_code == 404
    assert not gateway.service.tokenized
    assert not gateway.service.asked


def test_the_best_document_comes_first(gateway: RunningGateway) -> None:
    gateway.service.embedding = SCORES
    found = gateway.post("/v1/rerank", json=QUESTION).json()
    assert [entry["index"] for entry in found["results"]] == [2, 0, 1]
    assert [entry["relevance_score"] for entry in found["results"]] == [3.0, 1.0, -2.0]
    assert found["usage"] == {"prompt_tokens": 9, "total_tokens": 9}
    asked = gateway.service.embedded[-1]
    assert asked.query == "What?"
    assert asked.inputs == tuple(map(TextPrompt, ("one", "two", "three")))
    best = QUESTION | {"top_n": 1, "return_documents": True}
    (only,) = gateway.post("/rerank", json=best).json()["results"]
    assert only["document"] == {"text": "three"}


def test_similarity_is_not_sold_as_relevance(gateway: RunningGateway) -> None:
    assert "reranking model" in gateway.error(400, "/v1/rerank", json=QUESTION)["message"]
    gateway.service.embedding = UnsupportedFeature("no")
    assert gateway.error(400, "/v1/rerank", json=QUESTION)["code"] == "unsupported_feature"


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "content"),
        ("/tokenize", {"content": 5}, "content"),
        ("/detokenize", {"tokens": "hi"}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens[0]"),
        ("/apply-template", {"messages": []}, "messages"),
        ("/v1/rerank", {"query": "", "documents": ["a"]}, "query"),
        ("/v1/rerank", {"query": "a", "documents": []}, "documents"),
        ("/v1/rerank", {"query": "a", "documents": [5]}, "documents[0]"),
        ("/v1/rerank", QUESTION | {"top_n": 0}, "top_n"),
    ],
)
def test_what_is_wrong_is_named(gateway: RunningGateway, path: str, body: Any, param: str) -> None:
    assert gateway.error(400, path, json=body)["param"] == param


def test_a_key_is_demanded(gateways: RunningGateways) -> None:
    gateway = gateways.with_settings(api_keys=("sesame",))
    for path in ("/props", "/slots"):
        assert gateway.get(path).status_code == 401
    for path in ("/tokenize", "/detokenize", "/apply-template", "/v1/rerank", "/rerank"):
        gateway.error(401, path, json={})
