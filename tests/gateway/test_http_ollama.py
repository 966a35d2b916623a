"""Ollama's API, as its official client speaks it, over a service from a script."""

from collections.abc import Iterator
from typing import Any

import msgspec
import ollama
import pytest
from tests.fakes.fake_service import model, say
from tests.fakes.running_gateway import RunningGateway, RunningGateways

from ai_assistant.gateway.closed_schema import closed
from ai_assistant.protocol.chunks import Timings, TokenChunk, ToolCallDelta, Usage
from ai_assistant.protocol.errors import EngineDied, ModelLoading
from ai_assistant.protocol.requests import ChatMessage, ChatPrompt, TextPrompt

HELLO: Any = [{"role": "user", "content": "hi"}]
TOOL: Any = {
    "type": "function",
    "function": {"name": "look", "description": "Look.", "parameters": {"type": "object"}},
}
LAST = TokenChunk(
    finish="stop",
    usage=Usage(prompt_tokens=12, completion_tokens=7, cached_tokens=5),
    timings=Timings(queue_ms=1, prefill_ms=20, decode_ms=300),
)
CALLS = [
    TokenChunk(reasoning="Hm."),
    TokenChunk(text="Let me see."),
    TokenChunk(tool_calls=(ToolCallDelta(index=0, id="a", name="look", arguments='{"at":'),)),
    TokenChunk(tool_calls=(ToolCallDelta(index=0, arguments=' "it"}'),)),
    TokenChunk(tool_calls=(ToolCallDelta(index=1, id="b", name="look"),)),
    LAST,
]


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[ollama.Client]:
    client = ollama.Client(host=gateway.url, timeout=10)
    yield client
    client._client.close()


def lines(gateway: RunningGateway, path: str, **body: Any) -> list[Any]:
    answer = gateway.post(path, json={"model": "starter"} | body)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.text.endswith("\n")
    return [msgspec.json.decode(line) for line in answer.text.splitlines()]


def refusal(gateway: RunningGateway, status: int, path: str, **body: Any) -> str:
    answer = gateway.post(path, json={"model": "starter"} | body)
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    return answer.json()["error"]


def prompt(gateway: RunningGateway) -> ChatPrompt:
    asked = gateway.service.asked[-1].prompt
    assert isinstance(asked, ChatPrompt)
    return asked


def test_plain_chat(gateway: RunningGateway, client: ollama.Client) -> None:
    gateway.service.script = [TokenChunk(text="Hel"), TokenChunk(text="lo"), LAST]
    answer = client.chat(model="starter:latest", messages=HELLO)
    assert answer.message.content == "Hello"
    assert (answer.done, answer.done_reason, answer.model) == (True, "stop", "starter:latest")
    assert (answer.prompt_eval_count, answer.eval_count) == (12, 7)
    assert (answer.prompt_eval_duration, answer.eval_duration) == (20_000_000, 300_000_000)
    assert answer.total_duration is not None
    assert answer.total_duration > 0
    assert gateway.service.asked[0].model == "starter"


def test_stream_is_the_plain_answer_in_lines(
    gateway: RunningGateway, client: ollama.Client
) -> None:
    gateway.service.script = CALLS
    whole = client.chat(model="starter", messages=HELLO, tools=[TOOL])
    pieces = list(client.chat(model="starter", messages=HELLO, tools=[TOOL], stream=True))
    assert "".join(piece.message.content or "" for piece in pieces) == whole.message.content
    assert "".join(piece.message.thinking or "" for piece in pieces) == whole.message.thinking
    calls = [call.function for piece in pieces for call in piece.message.tool_calls or []]
    assert calls == [call.function for call in whole.message.tool_calls or []]
    assert [(call.name, call.arguments) for call in calls] == [("look", {"at": "it"}), ("look", {})]
    assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]


def test_chat_streams_unless_told_otherwise(gateway: RunningGateway) -> None:
    found = lines(gateway, "/api/chat", messages=HELLO)
    assert [line["message"]["content"] for line in found] == ["Hel", "lo", ""]


def test_generate_is_a_chat_of_one_turn(gateway: RunningGateway, client: ollama.Client) -> None:
    answer = client.generate(model="starter", prompt="hi", system="Be brief.")
    assert answer.response == "Hello"
    assert prompt(gateway).messages == (
        ChatMessage(role="system", content="Be brief."),
        ChatMessage(role="user", content="hi"),
    )
    pieces = list(client.generate(model="starter", prompt="hi", stream=True))
    assert "".join(piece.response for piece in pieces) == "Hello"
    client.generate(model="starter", prompt="as it is", raw=True)
    assert gateway.service.asked[-1].prompt == TextPrompt("as it is")


def test_numbers_may_be_floats(gateway: RunningGateway, client: ollama.Client) -> None:
    """Clients in languages whose numbers are all floats, and many forms of settings."""
    client._client.post(
        "/api/chat",
        json={"model": "starter", "messages": HELLO, "stream": False,
              "options": {"top_k": 40.0, "seed": 7.0, "num_predict": 12.0}},
    ).raise_for_status()  # fmt: skip
    asked = gateway.service.asked[-1]
    assert (asked.sampling.top_k, asked.sampling.seed, asked.max_tokens) == (40, 7, 12)
    assert all(type(one) is int for one in (asked.sampling.top_k, asked.sampling.seed))


NAMED = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (NAMED, {**NAMED, "additionalProperties": False}),
        ({**NAMED, "additionalProperties": True}, {**NAMED, "additionalProperties": True}),
        ({"type": "object"}, {"type": "object"}),
        ({"$defs": {"x": NAMED}}, {"$defs": {"x": {**NAMED, "additionalProperties": False}}}),
        ({"enum": [NAMED]}, {"enum": [NAMED]}),
        (
            {"properties": {"properties": NAMED}},
            {
                "properties": {"properties": {**NAMED, "additionalProperties": False}},
                "additionalProperties": False,
            },
        ),
        ({"allOf": [NAMED]}, {"allOf": [NAMED]}),
    ],
)
def test_a_schema_names_all_fields(given: dict[str, Any], kept: dict[str, Any]) -> None:
    assert closed(given) == kept


def test_a_request_in_our_words(gateway: RunningGateway, client: ollama.Client) -> None:
    client.chat(
        model="starter",
        messages=[
            {"role": "user", "content": "hi"},
            {"role": "assistant", "thinking": "Hm.",
             "tool_calls": [{"function": {"name": "look", "arguments": {"at": "it"}}},
                            {"function": {"name": "sit", "arguments": {}}}]},
            {"role": "tool", "content": "dark", "tool_name": "look"},
            {"role": "tool", "content": "done"},
        ],
        tools=[TOOL],
        think="low",
        format={"type": "object"},
        options={"temperature": 0.5, "num_predict": -1, "top_k": 4, "repeat_penalty": 1.2,
                 "seed": 7, "stop": ["END"], "num_ctx": 512, "mirostat": 0},
        keep_alive="5m",
        logprobs=True,
        top_logprobs=2,
    )  # fmt: skip
    asked = gateway.service.asked[-1]
    found = prompt(gateway)
    assert asked.max_tokens is None
    assert asked.sampling.temperature == 0.5
    assert asked.sampling.repetition_penalty == 1.2
    assert (asked.sampling.seed, asked.sampling.top_k) == (7, 4)
    assert (asked.stop, asked.logprobs, asked.format.kind) == (("END",), 2, "json_schema")
    assert found.template_variables == {"enable_thinking": True, "reasoning_effort": "low"}
    assert [tool.name for tool in found.tools] == ["look"]
    assert [call.arguments for call in found.messages[1].tool_calls] == ['{"at":"it"}', "{}"]
    ids = [call.id for call in found.messages[1].tool_calls]
    assert [message.tool_call_id for message in found.messages[2:]] == ids
    assert [message.name for message in found.messages[2:]] == ["look", "sit"]


def test_an_empty_request_loads_the_model(gateway: RunningGateway, client: ollama.Client) -> None:
    for answer in (client.generate(model="starter"), client.chat(model="starter")):
        assert (answer.done, answer.done_reason) == (True, "load")
        assert answer.load_duration is not None
    assert [request.model for request in gateway.service.tokenized] == ["starter"] * 2
    assert not gateway.service.asked
    assert "unloaded" in refusal(gateway, 400, "/api/generate", keep_alive=0)


def test_silence_is_filled_with_empty_lines(gateways: RunningGateways) -> None:
    gateway = gateways.with_settings(ping_seconds=0.05)
    gateway.service.script = [0.2, *say("hi")]
    found = lines(gateway, "/api/chat", messages=HELLO)
    assert found[0]["message"] == {"role": "assistant", "content": ""}
    assert not found[0]["done"]
    assert "".join(line["message"]["content"] for line in found) == "hi"


def test_models_are_listed_and_described(gateway: RunningGateway, client: ollama.Client) -> None:
    listed = client.list().models
    assert [entry.model for entry in listed] == ["starter", "org/big"]
    assert listed[0].details is not None
    assert listed[0].details.parameter_size == "100"
    shown = client.show("starter:latest")
    assert shown.capabilities == ["completion", "tools"]
    assert shown.modelinfo is not None
    assert shown.modelinfo["llama.context_length"] == 2048
    gateway.service.models = (model("starter"), model("org/big", state="unloaded"))
    assert [entry.model for entry in client.ps().models] == ["starter"]
    assert gateway.get("/api/version").json()["version"].count(".") == 2


def test_vectors(gateway: RunningGateway, client: ollama.Client) -> None:
    found = client.embed(model="starter", input=["one", "two"])
    assert found.embeddings == [[1.0, 0.0], [1.0, 0.0]]
    assert found.prompt_eval_count == 6
    assert client.embed(model="starter", input="one").embeddings == [[1.0, 0.0]]
    assert client.embeddings(model="starter", prompt="one").embedding == [1.0, 0.0]
    assert client.embed(model="starter", input=[]).embeddings == []
    assert "dimensions" in refusal(gateway, 400, "/api/embed", input="one", dimensions=3)


def test_models_that_are_here_need_no_download(
    gateway: RunningGateway, client: ollama.Client
) -> None:
    assert client.pull("starter").status == "success"
    assert [part.status for part in client.pull("starter", stream=True)] == ["success"]
    assert "serve --model" in refusal(gateway, 400, "/api/pull", model="llama4")


@pytest.mark.parametrize(("method", "path"), [("DELETE", "delete"), ("POST", "create"),
                                              ("POST", "copy"), ("POST", "push")])  # fmt: skip
def test_the_store_is_not_changed(gateway: RunningGateway, method: str, path: str) -> None:
    answer = gateway.shared.request(method, f"{gateway.url}/api/{path}", json={"model": "starter"})
    assert answer.status_code == 400
    assert "not changed" in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("chat", {"messages": [{"role": "robot"}]}, "messages[0].role"),
        ("chat", {"messages": HELLO, "options": {"temperature": "hot"}}, "options.temperature"),
        ("chat", {"messages": HELLO, "options": {"num_predict": 0}}, "options.num_predict"),
        ("chat", {"messages": HELLO, "format": "xml"}, "format"),
        ("chat", {"messages": [{"role": "user", "images": ["x"]}]}, "images"),
        ("generate", {"prompt": "a", "suffix": "b"}, "suffix"),
        ("generate", {"prompt": "a", "context": [1]}, "/api/chat"),
        ("show", {"model": None}, "model"),
        ("embed", {"input": ["a", ""]}, "input"),
    ],
)
def test_what_is_wrong_is_named(gateway: RunningGateway, path: str, body: Any, named: str) -> None:
    assert named in refusal(gateway, 400, f"/api/{path}", **body)


def test_errors_are_those_that_the_client_knows(
    gateway: RunningGateway, client: ollama.Client
) -> None:
    with pytest.raises(ollama.ResponseError) as missing:
        client.chat(model="llama4", messages=HELLO)
    assert missing.value.status_code == 404
    with pytest.raises(ollama.ResponseError):
        client.show("llama4")
    gateway.service.script = [ModelLoading("Loading.", retry_after=2)]
    assert "Loading" in refusal(gateway, 503, "/api/chat", messages=HELLO)
    gateway.service.script = [TokenChunk(text="so"), EngineDied("It died.")]
    with pytest.raises(ollama.ResponseError, match="It died"):
        list(client.chat(model="starter", messages=HELLO, stream=True))


def test_a_key_is_demanded(gateways: RunningGateways) -> None:
    gateway = gateways.with_settings(api_keys=("sesame name=ann",))
    assert "key" in refusal(gateway, 401, "/api/chat", messages=HELLO)
    assert gateway.get("/api/tags").status_code == 401
    headers = {"authorization": "Bearer sesame"}
    body = {"model": "starter", "messages": HELLO}
    assert gateway.post("/api/chat", json=body, headers=headers).status_code == 200
    assert gateway.service.asked[-1].tenant == "ann"
