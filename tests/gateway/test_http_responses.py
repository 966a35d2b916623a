"""OpenAI's Responses API, as its official client speaks it, over a service from a script."""

from collections.abc import Iterator
from typing import Any

import msgspec
import openai
import pytest
from openai import OpenAI
from tests.fakes.fake_service import say
from tests.fakes.running_gateway import RunningGateway, RunningGateways

from ai_assistant.gateway.responses_shelf import ResponsesShelf
from ai_assistant.protocol.chunks import (
    TokenChunk,
    TokenLogprob,
    ToolCallDelta,
    TopLogprob,
    Usage,
)
from ai_assistant.protocol.errors import ContextLengthExceeded, EngineDied, NotFound
from ai_assistant.protocol.requests import ChatMessage, ChatPrompt, ToolCall

PATH = "/v1/responses"
LOOK: Any = {
    "type": "function",
    "name": "look",
    "description": "Look.",
    "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
    "strict": False,
}
PATCH: Any = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Change files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"},
}
LAST = TokenChunk(
    finish="tool_calls",
    usage=Usage(prompt_tokens=12, completion_tokens=7, cached_tokens=5, reasoning_tokens=2),
)
CALLS = [
    TokenChunk(reasoning="I should "),
    TokenChunk(reasoning="look."),
    TokenChunk(text="Let me "),
    TokenChunk(text="see."),
    TokenChunk(tool_calls=(ToolCallDelta(index=0, id="call_a", name="look"),)),
    TokenChunk(tool_calls=(ToolCallDelta(index=0, arguments='{"at": "it"}'),)),
    TokenChunk(tool_calls=(ToolCallDelta(index=1, id="call_b", name="apply_patch"),)),
    TokenChunk(tool_calls=(ToolCallDelta(index=1, arguments='{"input": "*** Begin"}'),)),
    LAST,
]


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[OpenAI]:
    with gateway.client() as client:
        yield client


def prompt(gateway: RunningGateway) -> ChatPrompt:
    asked = gateway.service.asked[-1].prompt
    assert isinstance(asked, ChatPrompt)
    return asked


def bare_events(gateway: RunningGateway, **body: Any) -> list[Any]:
    text = gateway.post(PATH, json={"input": "hi", "stream": True} | body).text
    pairs = [event.split("\n") for event in text.strip().split("\n\n")]
    found = [msgspec.json.decode(data.removeprefix("data: ")) for _, data in pairs]
    assert [name for name, _ in pairs] == [f"event: {event['type']}" for event in found]
    return found


def test_plain_answer(gateway: RunningGateway, client: OpenAI) -> None:
    gateway.service.script = say("Hel", "lo", prompt=12, cached=5)
    response = client.responses.create(model="starter", input="hi", instructions="Be brief.")
    assert response.output_text == "Hello"
    assert response.status == "completed"
    assert response.instructions == "Be brief."
    assert response.usage is not None
    assert response.usage.input_tokens == 12
    assert response.usage.input_tokens_details.cached_tokens == 5
    assert response.usage.output_tokens == 2
    assert prompt(gateway).messages == (
        ChatMessage(role="system", content="Be brief."),
        ChatMessage(role="user", content="hi"),
    )


def test_stream_gives_the_same_response(gateway: RunningGateway, client: OpenAI) -> None:
    gateway.service.script = CALLS
    options: Any = {"model": "starter", "input": "hi", "tools": [LOOK, PATCH]}
    whole = client.responses.create(**options)
    with client.responses.stream(**options) as stream:
        kinds = [event.type for event in stream]
        streamed = stream.get_final_response()
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    kinds_of_items = [item.type for item in whole.output]
    assert kinds_of_items == ["reasoning", "message", "function_call", "custom_tool_call"]
    assert [item.type for item in streamed.output] == kinds_of_items
    assert streamed.output_text == whole.output_text == "Let me see."
    call, custom = whole.output[2:]
    assert call.type == "function_call"
    assert (call.call_id, call.name, call.arguments) == ("call_a", "look", '{"at": "it"}')
    assert custom.type == "custom_tool_call"
    assert (custom.call_id, custom.input) == ("call_b", "*** Begin")
    assert whole.output[0].content[0].text == "I should look."  # type: ignore[union-attr,index]
    assert streamed.usage == whole.usage
    assert whole.usage is not None
    assert whole.usage.output_tokens_details.reasoning_tokens == 2


def test_every_event_is_numbered_and_names_its_item(gateway: RunningGateway) -> None:
    gateway.service.script = CALLS
    events = bare_events(gateway, tools=[LOOK, PATCH])
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    added = [event for event in events if event["type"] == "response.output_item.added"]
    done = [event for event in events if event["type"] == "response.output_item.done"]
    assert [event["output_index"] for event in added] == [0, 1, 2, 3]
    assert [event["item"]["id"] for event in added] == [event["item"]["id"] for event in done]
    assert {event["item"]["status"] for event in added} == {"in_progress"}
    assert {event["item"]["status"] for event in done} == {"completed"}
    for event in events:
        if "item_id" in event:
            assert event["item_id"] == added[event["output_index"]]["item"]["id"]
    assert events[-1]["response"]["output"] == [event["item"] for event in done]
    assert events[0]["response"]["output"] == []


def test_what_codex_sends_in_our_words(gateway: RunningGateway) -> None:
    events = bare_events(
        gateway,
        input=[
            {"type": "message", "role": "developer",
             "content": [{"type": "input_text", "text": "You are a coding agent."}]},
            {"type": "message", "role": "developer",
             "content": [{"type": "input_text", "text": "<skills/>"},
                         {"type": "input_text", "text": "<permissions/>"}]},
            {"type": "message", "role": "user",
             "content": [{"type": "input_text", "text": "<environment_context/>"}]},
            {"type": "message", "role": "user",
             "content": [{"type": "input_text", "text": "look"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": None,
             "content": [{"type": "reasoning_text", "text": "Hm."}]},
            {"type": "message", "role": "assistant",
             "content": [{"type": "output_text", "text": "I look."}]},
            {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
            {"type": "custom_tool_call", "call_id": "c2", "name": "apply_patch", "input": "***"},
            {"type": "function_call_output", "call_id": "c1", "output": "dark"},
            {"type": "custom_tool_call_output", "call_id": "c2",
             "output": [{"type": "input_text", "text": "done"}, {"type": "input_image"}]},
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        ],
        tools=[LOOK, PATCH, {"type": "web_search", "external_web_access": False},
               {"type": "namespace", "name": "agents", "tools": []}],
        tool_choice="auto", parallel_tool_calls=True, reasoning={"summary": "auto"}, store=False,
        include=["reasoning.encrypted_content"], prompt_cache_key="k", client_metadata={"a": "b"},
    )  # fmt: skip
    assert events[-1]["type"] == "response.completed"
    found = prompt(gateway)
    assert found.messages == (
        ChatMessage(role="system", content="You are a coding agent.\n\n<skills/>\n<permissions/>"),
        ChatMessage(role="user", content="<environment_context/>\n\nlook"),
        ChatMessage(
            role="assistant",
            content="I look.",
            reasoning="Hm.",
            tool_calls=(
                ToolCall(id="c1", name="look", arguments="{}"),
                ToolCall(id="c2", name="apply_patch", arguments='{"input":"***"}'),
            ),
        ),
        ChatMessage(role="tool", content="dark", tool_call_id="c1", name="look"),
        ChatMessage(
            role="tool",
            content="done\n(an image, which this model cannot see)",
            tool_call_id="c2",
            name="apply_patch",
        ),
    )
    assert [tool.name for tool in found.tools] == ["look", "apply_patch"]
    assert "start: /.+/" in (found.tools[1].description or "")


def test_a_kept_response_is_continued(gateway: RunningGateway, client: OpenAI) -> None:
    first = client.responses.create(model="starter", input="one", instructions="Be brief.")
    second = client.responses.create(
        model="starter", input="two", previous_response_id=first.id, instructions="Be kind."
    )
    assert [message.content for message in prompt(gateway).messages] == [
        "Be kind.", "one", "Hello", "two",
    ]  # fmt: skip
    assert second.previous_response_id == first.id
    assert client.responses.retrieve(first.id).output_text == "Hello"
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError, match="Send the whole conversation"):
        client.responses.create(model="starter", input="x", previous_response_id=first.id)
    with client.responses.stream(model="starter", input="x", previous_response_id=second.id) as s:
        assert s.get_final_response().output_text == "Hello"
    unkept = client.responses.create(model="starter", input="one", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(unkept.id)


def test_nobody_continues_what_is_somebody_elses(gateways: RunningGateways) -> None:
    gateway = gateways.with_settings(api_keys=("ann name=ann", "bob name=bob"))
    with gateway.client("ann") as ann, gateway.client("bob") as bob:
        first = ann.responses.create(model="starter", input="secret")
        with pytest.raises(openai.NotFoundError):
            bob.responses.retrieve(first.id)
        with pytest.raises(openai.NotFoundError):
            bob.responses.create(model="starter", input="?", previous_response_id=first.id)


def test_the_shelf_is_bounded() -> None:
    shelf = ResponsesShelf(count=3, size=1000)
    for i in range(5):
        shelf.put("ann", (), {"id": str(i)})
    assert len(shelf) == 3
    with pytest.raises(NotFound):
        shelf.get("ann", "1")
    shelf.put("ann", (), {"id": "large", "text": "x" * 965})
    assert (len(shelf), shelf.bytes <= 1000) == (1, True)
    shelf.put("ann", (), {"id": "larger", "text": "x" * 1000})
    assert len(shelf) == 1
    shelf.remove("ann", "large")
    assert shelf.bytes == 0


def test_a_cut_answer_is_incomplete(gateway: RunningGateway, client: OpenAI) -> None:
    usage = Usage(prompt_tokens=1, completion_tokens=2)
    gateway.service.script = [TokenChunk(text="so"), TokenChunk(finish="length", usage=usage)]
    response = client.responses.create(model="starter", input="hi", max_output_tokens=2)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert bare_events(gateway)[-1]["type"] == "response.incomplete"


def test_options_in_our_words(gateway: RunningGateway, client: OpenAI) -> None:
    schema: Any = {"type": "object", "additionalProperties": False, "properties": {}}
    response = client.responses.create(
        model="starter",
        input="hi",
        temperature=0.3,
        top_p=0.5,
        max_output_tokens=16,
        reasoning={"effort": "none"},
        text={"format": {"type": "json_schema", "name": "x", "schema": schema, "strict": True}},
        tools=[LOOK, PATCH],
        tool_choice={"type": "function", "name": "look"},
        parallel_tool_calls=False,
        service_tier="flex",
        metadata={"a": "b"},
    )
    asked = gateway.service.asked[-1]
    assert (asked.sampling.temperature, asked.sampling.top_p, asked.max_tokens) == (0.3, 0.5, 16)
    assert asked.format.schema == schema
    assert asked.priority.name == "BATCH"
    found = prompt(gateway)
    assert found.template_variables == {"enable_thinking": False}
    assert (found.tool_choice.mode, found.tool_choice.name) == ("required", "look")
    assert not found.parallel_tool_calls
    assert (response.service_tier, response.metadata) == ("flex", {"a": "b"})
    assert [tool.type for tool in response.tools] == ["function", "custom"]
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [{"name": "look"}]}
    gateway.post(PATH, json={"input": "hi", "tools": [LOOK, PATCH], "tool_choice": allowed})
    assert [tool.name for tool in prompt(gateway).tools] == ["look"]


def test_logprobs_on_request(gateway: RunningGateway, client: OpenAI) -> None:
    top = (TopLogprob("hi", b"hi", -0.1),)
    chunk = TokenChunk(text="hi", logprobs=(TokenLogprob("hi", b"hi", -0.1, top),))
    gateway.service.script = [chunk, LAST]
    response = client.responses.create(
        model="starter", input="hi", include=["message.output_text.logprobs"], top_logprobs=1
    )
    assert gateway.service.asked[-1].logprobs == 1
    (part,) = response.output[0].content  # type: ignore[union-attr,misc]
    assert part.logprobs[0].top_logprobs[0].token == "hi"  # type: ignore[union-attr,index]


def test_a_probe_without_input_passes(gateway: RunningGateway) -> None:
    assert gateway.post(PATH, json={"input": [], "max_output_tokens": 1}).status_code == 200
    assert gateway.post(PATH, json={"input": ""}).status_code == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": 5}, "input"),
        ({"input": [{"role": "robot", "content": "hi"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
         "input[0].content[0].type"),
        ({"input": [{"type": "function_call", "name": "look"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output"}]}, "input[0].call_id"),
        ({"input": [{"type": "computer_call"}]}, "input[0].type"),
        ({"input": "hi", "max_output_tokens": 0}, "max_output_tokens"),
        ({"input": "hi", "background": True}, "background"),
        ({"input": "hi", "conversation": "conv_1"}, "conversation"),
        ({"input": "hi", "tool_choice": "required"}, "tool_choice"),
        ({"input": "hi", "tool_choice": {"type": "function", "name": "x"}}, "tool_choice.name"),
        ({"input": "hi", "tools": [{"type": "function"}]}, "tools[0].name"),
        ({"input": "hi", "text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
        ({"input": "hi", "service_tier": "first"}, "service_tier"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(gateway: RunningGateway, body: Any, param: str) -> None:
    assert gateway.error(400, PATH, json=body)["param"] == param
    assert not gateway.service.asked


def test_an_unknown_response_cannot_be_continued(gateway: RunningGateway) -> None:
    body = {"input": "hi", "previous_response_id": "resp_1"}
    assert gateway.error(404, PATH, json=body)["param"] == "previous_response_id"


def test_an_error_before_the_stream_has_a_status(gateway: RunningGateway) -> None:
    gateway.service.script = [ContextLengthExceeded("3000 tokens of 2048")]
    found = gateway.error(400, PATH, json={"input": "hi", "stream": True})
    assert found["code"] == "context_length_exceeded"


def test_an_error_in_the_middle_fails_the_response(gateway: RunningGateway) -> None:
    gateway.service.script = [TokenChunk(text="so"), EngineDied("It died.")]
    last = bare_events(gateway)[-1]
    assert last["type"] == "response.failed"
    assert last["response"]["status"] == "failed"
    error = last["response"]["error"]
    assert error["code"] == "engine_died"
    assert error["message"].startswith("It died.")


def test_tokens_are_counted_without_an_answer(gateway: RunningGateway, client: OpenAI) -> None:
    counted = client.responses.input_tokens.count(model="starter", input="de", instructions="abc")
    assert counted.input_tokens == len("abc\nde\n")
    assert not gateway.service.asked
