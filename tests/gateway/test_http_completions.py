from typing import Any

import pytest
from tests.fakes.fake_service import Step, say
from tests.fakes.running_gateway import RunningGateway
from tests.fakes.scripts import LOGPROBS, USAGE

from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.protocol.requests import GenerateRequest, TextPrompt, TokenPrompt

PATH = "/v1/completions"


def repeat(request: GenerateRequest) -> list[Step]:
    """Each prompt's text comes back."""
    text = request.prompt.text if isinstance(request.prompt, TextPrompt) else "tokens"
    return say(text, n=request.n)


def test_an_answer_has_openais_shape(gateway: RunningGateway) -> None:
    with gateway.client() as client:
        answer = client.completions.create(model="starter", prompt="hi")
    assert answer.id.startswith("cmpl-")
    assert answer.object == "text_completion"
    assert answer.choices[0].text == "Hello"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 7
    assert gateway.service.asked[0].prompt == TextPrompt("hi")


def test_a_stream_has_openais_shape(gateway: RunningGateway) -> None:
    with gateway.client() as client:
        chunks = list(client.completions.create(model="starter", prompt="hi", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == "Hello"
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_tokens_are_a_prompt(gateway: RunningGateway) -> None:
    assert gateway.post(PATH, json={"prompt": [1, 2, 3]}).status_code == 200
    assert gateway.service.asked[0].prompt == TokenPrompt((1, 2, 3))


def test_several_prompts_give_several_choices(gateway: RunningGateway) -> None:
    gateway.service.script = repeat
    answer = gateway.post(PATH, json={"prompt": ["a", [7], "b"], "n": 2}).json()
    texts = [choice["text"] for choice in answer["choices"]]
    assert texts == ["a", "a", "tokens", "tokens", "b", "b"]
    assert [choice["index"] for choice in answer["choices"]] == list(range(6))
    assert answer["usage"]["prompt_tokens"] == 15
    assert len({request.request_id for request in gateway.service.asked}) == 3


def test_several_prompts_stream_together(gateway: RunningGateway) -> None:
    gateway.service.script = repeat
    events = gateway.events({"prompt": ["a", "b"], "n": 2}, PATH)
    texts = dict.fromkeys(range(4), "")
    for event in events[:-1]:
        texts[event["choices"][0]["index"]] += event["choices"][0]["text"]
    assert texts == {0: "a", 1: "a", 2: "b", 3: "b"}


def test_the_failure_of_one_prompt_cancels_the_others(gateway: RunningGateway) -> None:
    def fail_second(request: GenerateRequest) -> list[Step]:
        return [0.02, RuntimeError("no")] if request.prompt == TextPrompt("b") else [60.0]

    gateway.service.script = fail_second
    gateway.error(500, PATH, json={"prompt": ["a", "b", "c"]})
    assert len(gateway.service.closed) == 2


def test_echo_puts_the_prompt_first(gateway: RunningGateway) -> None:
    body = {"prompt": "hi ", "echo": True, "n": 2}
    gateway.service.script = say("yes", n=2)
    answer = gateway.post(PATH, json=body).json()
    assert [choice["text"] for choice in answer["choices"]] == ["hi yes", "hi yes"]
    events = gateway.events(body, PATH)
    assert [event["choices"][0]["text"] for event in events[:2]] == ["hi yes", "hi yes"]


def test_logprobs_have_the_old_shape(gateway: RunningGateway) -> None:
    gateway.service.script = LOGPROBS
    logprobs = gateway.post(PATH, json={"prompt": "hi", "logprobs": 2}).json()["choices"][0]
    assert logprobs["logprobs"] == {
        "tokens": ["é"],
        "token_logprobs": [-0.5],
        "top_logprobs": [{"é": -0.5, "e": -1}],
        "text_offset": [0],
    }
    assert gateway.service.asked[0].logprobs == 2
    events = gateway.events({"prompt": "hi", "logprobs": 2}, PATH)
    assert events[0]["choices"][0]["logprobs"]["tokens"] == ["é"]


def test_usage_and_timings_when_asked(gateway: RunningGateway) -> None:
    gateway.service.script = [TokenChunk(text="a", finish="length", usage=USAGE)]
    options = {"stream_options": {"include_usage": True}, "timings": True}
    events = gateway.events({"prompt": "hi", **options}, PATH)
    assert events[0]["choices"][0]["finish_reason"] == "length"
    assert events[-2]["choices"] == []
    assert events[-2]["usage"]["completion_tokens"] == 3
    assert events[-2]["timings"]["cache_n"] == 4


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"prompt": []}, "prompt"),
    ({"prompt": [1, "a"]}, "prompt"),
    ({"prompt": [[]]}, "prompt[0]"),
    ({"prompt": ["a"] * 257}, "prompt"),
    ({"prompt": ["a"] * 17, "n": 16}, "prompt"),
    ({"prompt": "a", "suffix": "b"}, "suffix"),
    ({"prompt": "a", "best_of": 2}, "best_of"),
    ({"prompt": [1], "echo": True}, "echo"),
    ({"prompt": "a", "echo": True, "logprobs": 1}, "echo"),
    ({"prompt": "a", "logprobs": 21}, "logprobs"),
    ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
    ({"prompt": [-1]}, "prompt[0]"),
    ({}, "prompt"),
]


@pytest.mark.parametrize(("fields", "param"), WRONG)
def test_what_cannot_be_is_refused(
    gateway: RunningGateway, fields: dict[str, object], param: str
) -> None:
    assert gateway.error(400, PATH, json=fields)["param"] == param
    assert not gateway.service.asked
