"""Routing as clients of a real node see it: headers, the last event, `?explain`, affinity."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from tests.system.running_node import RunningNode, ready_node

import ai_assistant

STARTER = Path(ai_assistant.__file__).parent / "store/starter/starter.gguf"
STORY = [{"role": "user", "content": "Tell me a story about a boat."}]
SETTINGS = """
[routing.quality]
small = 10
"desk/starter" = 60
[routes.both]
models = [{ model = "desk/starter", weight = 1 }, { model = "attic/starter", weight = 1 }]
[routes.large]
models = ["large"]
fallback = ["small"]
while_loading = true
[routes.dear]
models = ["desk/starter", "small"]
objective = "cost"
"""


def provider(name: str, url: str, place: str = "machine") -> str:
    return (
        f'[{name}]\nkind = "ai-assistant"\nbase_url = "{url}/v1"\nplace = "{place}"\n'
        f'[[{name}.models]]\nid = "starter"\nnames = ["far"]\n'
        "price = { input = 1.0, output = 5.0 }\n"
    )


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    with ready_node(tmp_path_factory.mktemp("desk")) as node:
        yield node


@pytest.fixture(scope="module")
def front(desk: RunningNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """`small` is in memory, `large` is not; one provider twice; one that the rules forbid."""
    folder = tmp_path_factory.mktemp("front")
    (folder / "providers.toml").write_text(
        provider("desk", desk.url)
        + provider("attic", desk.url)
        + provider("cloud", desk.url, "lan").replace('"far"', '"kept"')
    )
    models: list[str] = []
    for name in ("small", "large"):
        (folder / f"{name}.gguf").symlink_to(STARTER)
        models += ["--model", str(folder / f"{name}.gguf")]
    (folder / "config.toml").write_text(SETTINGS)
    node = RunningNode(folder, *models)
    node.wait_ready("small")
    yield node
    node.stop()


def chat(node: RunningNode, model: str, query: str = "", **fields: Any) -> Any:
    body = {"model": model, "messages": STORY, "max_tokens": 8, **fields}
    return node.http.post(f"/v1/chat/completions{query}", json=body)


def test_headers_and_body_say_who_answered_and_what_it_cost(front: RunningNode) -> None:
    answer = chat(front, "far", messages=[{"role": "user", "content": "A new question, please."}])
    told, used = answer.json()["ai_assistant"], answer.json()["usage"]
    cached = used["prompt_tokens_details"]["cached_tokens"]
    cost = (used["prompt_tokens"] * 1.0 + used["completion_tokens"] * 5.0) / 1e6
    assert told["worker"] == "desk/starter"
    assert told["cost_usd"] == pytest.approx(cost)
    assert told["fallback"] is False
    assert cached <= used["prompt_tokens"]
    assert answer.headers["x-ai-assistant-worker"] == "desk/starter"
    assert float(answer.headers["x-ai-assistant-cost"]) == pytest.approx(cost, rel=1e-3)
    assert answer.headers["x-ai-assistant-fallback"] == "no"
    assert "order" in answer.headers["x-ai-assistant-reason"]


def test_a_model_here_is_told_too_and_costs_nothing(front: RunningNode) -> None:
    answer = chat(front, "small")
    assert answer.headers["x-ai-assistant-worker"] == "small"
    assert answer.headers["x-ai-assistant-cost"] == "0"


def test_openais_client_reads_the_stream_and_its_last_event_tells(front: RunningNode) -> None:
    stream = front.openai.chat.completions.with_raw_response.create(
        model="far", messages=STORY, max_tokens=8, stream=True,  # type: ignore[arg-type]
        stream_options={"include_usage": True},
    )  # fmt: skip
    assert stream.headers["x-ai-assistant-worker"] == "desk/starter"
    assert stream.headers["x-ai-assistant-cost"].endswith("; expected")
    chunks: list[Any] = list(stream.parse())  # type: ignore[arg-type]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert chunks[-1].usage.completion_tokens == 8
    last = chunks[-1].model_extra["ai_assistant"]
    assert last["worker"] == "desk/starter"
    assert last["cost_usd"] > 0
    assert "ai_assistant" not in (chunks[0].model_extra or {})
    plain = front.openai.chat.completions.create(
        model="far", messages=STORY, max_tokens=8, stream=True,  # type: ignore[arg-type]
    )  # fmt: skip
    assert list(plain)[-1].model_extra["ai_assistant"]["worker"] == "desk/starter"  # type: ignore[index]


def test_anthropics_client_reads_the_stream_and_its_last_event_tells(front: RunningNode) -> None:
    client = anthropic.Anthropic(base_url=front.url, api_key="none", max_retries=0)
    with client, client.messages.stream(model="far", max_tokens=8, messages=STORY) as stream:  # type: ignore[arg-type]
        events: list[Any] = list(stream)
        assert stream.get_final_text()
    (delta,) = [event for event in events if event.type == "message_delta"]
    assert delta.model_extra["ai_assistant"]["worker"] == "desk/starter"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {"model": "far", "input": "Hello", "max_output_tokens": 16}),
        ("/api/chat", {"model": "far", "messages": STORY, "stream": False,
                       "options": {"num_predict": 8}}),
        ("/v1/completions", {"model": "far", "prompt": "Once", "max_tokens": 8}),
        ("/v1/messages", {"model": "far", "messages": STORY, "max_tokens": 8}),
    ],
)  # fmt: skip
def test_every_wire_format_takes_wishes_and_tells(
    front: RunningNode, path: str, body: dict[str, Any]
) -> None:
    answer = front.http.post(path, json={**body, "routing": {"objective": "cost"}})
    assert answer.status_code == 200, answer.text
    assert answer.json()["ai_assistant"]["worker"].endswith("/starter")
    assert "cost" in answer.headers["x-ai-assistant-reason"]
    shown = front.http.post(path + "?explain", json=body).json()
    assert shown["object"] == "decision"


def test_explain_answers_without_asking_anybody(desk: RunningNode, front: RunningNode) -> None:
    before = desk.model()["engine"]["prompt_tokens"]
    decision = chat(front, "dear", "?explain").json()
    time.sleep(0.6)  # the engine reports twice a second
    assert desk.model()["engine"]["prompt_tokens"] == before
    assert decision["objective"] == "cost"
    assert [one["worker"] for one in decision["candidates"]] == ["small", "desk/starter"]
    assert {"queue", "load", "first token", "prompt", "answer", "cost", "quality"} <= {
        term["name"] for term in decision["candidates"][0]["terms"]
    }
    beside = chat(front, "dear", "?explain=run").json()
    assert beside["choices"][0]["message"]["content"]
    assert beside["ai_assistant"]["decision"]["candidates"]


def test_a_header_says_the_same_and_a_wrong_one_is_named(front: RunningNode) -> None:
    wish = {"X-Routing": "objective=quality, max_ttft=60"}
    body = {"model": "dear", "messages": STORY, "max_tokens": 4}
    answer = front.http.post("/v1/chat/completions", json=body, headers=wish)
    assert answer.headers["x-ai-assistant-worker"] == "desk/starter"
    for wrong in ("objective=cheap", "max_ttft=soon", "colour=red", "max_ttft=1, max_ttft=2"):
        refused = front.http.post("/v1/chat/completions", json=body, headers={"X-Routing": wrong})
        assert refused.status_code == 400
        assert "X-Routing" in refused.json()["error"]["message"]
    refused = chat(front, "dear", routing={"max_price": -1})
    assert refused.json()["error"]["param"] == "routing.max_price"


def test_limits_that_nobody_keeps_are_an_error_that_says_why(front: RunningNode) -> None:
    refused = chat(front, "far", routing={"max_price_per_million": 2})
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error["code"] == "no_candidate_within_limits"
    assert "$5 per million tokens, more than $2" in error["message"]


def test_what_the_rules_forbid_is_explained(front: RunningNode) -> None:
    decision = chat(front, "kept", "?explain").json()
    assert "no rule file lets anything leave" in decision["candidates"][0]["refused"]
    refused = chat(front, "kept")
    assert refused.json()["error"]["code"] == "kept_by_policy"


def test_turns_of_a_conversation_stay_with_who_holds_its_beginning(front: RunningNode) -> None:
    long = "The boat went out before dawn and came back with nothing but rain. " * 8
    begun: set[str] = set()
    for number in range(12):
        talk = [{"role": "user", "content": f"{number}. {long}"}]
        who: set[str] = set()
        for _ in range(2):
            answer = chat(front, "both", messages=talk, max_tokens=1)
            who.add(answer.headers["x-ai-assistant-worker"])
            said = answer.json()["choices"][0]["message"]["content"]
            talk += [{"role": "assistant", "content": said}, {"role": "user", "content": "Go on."}]
        assert len(who) == 1
        assert answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
        begun |= who
    assert begun == {"desk/starter", "attic/starter"}


def test_the_small_one_answers_while_the_large_one_is_loaded(front: RunningNode) -> None:
    assert front.model("large")["state"] == "unloaded"
    first = chat(front, "large")
    assert first.headers["x-ai-assistant-worker"] == "small"
    assert first.headers["x-ai-assistant-fallback"] == "yes; large is being loaded"
    assert first.json()["ai_assistant"]["fallback"] is True
    front.wait_ready("large")
    later = chat(front, "large")
    assert later.headers["x-ai-assistant-worker"] == "large"
    assert later.headers["x-ai-assistant-fallback"] == "no"


def test_the_command_shows_the_decision(front: RunningNode) -> None:
    def run(*arguments: str) -> str:
        done = front.command("route", "Hello", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    shown = run("--model", "dear", "--max-price", "0.000001", "--terms")
    assert "dear (cost): the only one that can" in shown
    assert "may cost more than $1e-06" in shown
    assert "first token" in shown
    found = json.loads(run("--objective", "latency", "--json"))
    assert {one["worker"] for one in found["candidates"]} == {
        "small", "large", "starter", "desk/starter", "attic/starter", "cloud/starter",
    }  # fmt: skip
