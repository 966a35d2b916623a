"""Anthropic's Messages API, as its official client speaks it, over a service from a script."""

from collections.abc import Iterator
from typing import Any

import anthropic
import msgspec
import pytest
from tests.fakes.fake_service import say
from tests.fakes.running_gateway import RunningGateway, RunningGateways

from ai_assistant.protocol.chunks import TokenChunk, ToolCallDelta, Usage
from ai_assistant.protocol.errors import ContextLengthExceeded, EngineDied, ModelLoading, Overloaded
from ai_assistant.protocol.requests import ChatMessage, ChatPrompt, Priority, ToolCall

PATH = "/v1/messages"
HELLO: Any = {"max_tokens": 50, "messages": [{"role": "user", "content": "hi"}], "model": "starter"}
TOOL: Any = {
    "name": "look",
    "description": "Look at it.",
    "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}},
}
USAGE = Usage(prompt_tokens=12, completion_tokens=7, cached_tokens=5)
CALLS = [
    TokenChunk(reasoning="I should "),
    TokenChunk(reasoning="look."),
    TokenChunk(text="Let me see."),
    TokenChunk(tool_calls=(ToolCallDelta(index=0, id="call_a", name="look"),)),
    TokenChunk(tool_calls=(ToolCallDelta(index=0, arguments='{"at":'),)),
    TokenChunk(tool_calls=(ToolCallDelta(index=0, arguments=' "it"}'),)),
    TokenChunk(tool_calls=(ToolCallDelta(index=1, id="call_b", name="look", arguments="{}"),)),
    TokenChunk(finish="tool_calls", usage=USAGE),
]


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[anthropic.Anthropic]:
    options: Any = {"base_url": gateway.url, "api_key": "any", "max_retries": 0, "timeout": 10}
    with anthropic.Anthropic(**options) as client:
        yield client


def prompt(gateway: RunningGateway) -> ChatPrompt:
    asked = gateway.service.asked[-1].prompt
    assert isinstance(asked, ChatPrompt)
    return asked


def refusal(gateway: RunningGateway, status: int, path: str = PATH, **body: Any) -> str:
    """The message of the error in Anthropic's shape that the body gets."""
    answer = gateway.post(path, json=HELLO | body)
    assert answer.status_code == status, answer.text
    found = answer.json()
    assert found["type"] == "error"
    assert found["request_id"] == f"req_{answer.headers['x-request-id']}"
    assert set(found["error"]) == {"type", "message"}
    return found["error"]["message"]


def test_plain_answer(gateway: RunningGateway, client: anthropic.Anthropic) -> None:
    gateway.service.script = say("Hel", "lo", prompt=12, cached=5)
    message = client.messages.create(**HELLO)
    assert message.content[0].type == "text"
    assert message.content[0].text == "Hello"
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert message.model == "starter"
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (7, 5, 2)


def test_stream_gives_the_same_message(
    gateway: RunningGateway, client: anthropic.Anthropic
) -> None:
    gateway.service.script = CALLS
    whole = client.messages.create(**HELLO, tools=[TOOL])
    with client.messages.stream(**HELLO, tools=[TOOL]) as stream:
        kinds = [event.type for event in stream]
        streamed = stream.get_final_message()
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert [block.to_dict() for block in streamed.content] == [
        block.to_dict() for block in whole.content
    ]
    assert [block.type for block in whole.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert whole.content[2].to_dict() | {"caller": None} == {
        "type": "tool_use", "id": "call_a", "name": "look", "input": {"at": "it"}, "caller": None,
    }  # fmt: skip
    assert streamed.stop_reason == whole.stop_reason == "tool_use"
    assert streamed.usage.output_tokens == whole.usage.output_tokens == 7
    assert streamed.usage.input_tokens == whole.usage.input_tokens == 7


def test_every_block_is_opened_and_closed_in_order(gateway: RunningGateway) -> None:
    gateway.service.script = CALLS
    text = gateway.post(PATH, json=HELLO | {"stream": True}).text
    open_block = -1
    for event in text.strip().split("\n\n"):
        name, data = event.split("\n")
        fields = msgspec.json.decode(data.removeprefix("data: "))
        assert name == f"event: {fields['type']}"
        if fields["type"] == "content_block_start":
            assert fields["index"] == open_block + 1
            open_block = fields["index"]
        elif fields["type"].startswith("content_block"):
            assert fields["index"] == open_block
    assert open_block == 3
    assert text.count("event: content_block_stop") == 4
    assert text.count("signature_delta") == 1


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (TokenChunk(finish="stop", usage=USAGE, stop="END"), "stop_sequence"),
        (TokenChunk(finish="length", usage=Usage(prompt_tokens=1, completion_tokens=50)),
         "max_tokens"),
        (TokenChunk(finish="length", usage=USAGE), "model_context_window_exceeded"),
        (TokenChunk(finish="content_filter", usage=USAGE), "refusal"),
    ],
)  # fmt: skip
def test_reasons_to_stop(
    gateway: RunningGateway, client: anthropic.Anthropic, last: TokenChunk, reason: str
) -> None:
    gateway.service.script = [TokenChunk(text="so"), last]
    message = client.messages.create(**HELLO, stop_sequences=["END"])
    assert message.stop_reason == reason
    assert message.stop_sequence == last.stop
    assert gateway.service.asked[-1].stop == ("END",)


def test_a_conversation_with_tools_in_our_words(
    gateway: RunningGateway, client: anthropic.Anthropic
) -> None:
    client.messages.create(
        model="starter",
        max_tokens=9,
        extra_body={"temperature": 0.5, "top_k": 4, "top_p": 0.9},
        system=[{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}],
        tools=[TOOL, {"type": "web_search_20250305", "name": "web_search"}],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        thinking={"type": "enabled", "budget_tokens": 1024},
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "one"},
                                         {"type": "text", "text": "two"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "x"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "it"}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "is_error": True,
                 "content": [{"type": "text", "text": "it is dark"}]},
                {"type": "text", "text": "And now?"},
            ]},
        ],
    )  # fmt: skip
    asked = gateway.service.asked[-1]
    found = prompt(gateway)
    call = ToolCall(id="t1", name="look", arguments='{"at":"it"}')
    assert found.messages == (
        ChatMessage(role="system", content="Be brief.\n\nBe kind."),
        ChatMessage(role="user", content="one\ntwo"),
        ChatMessage(role="assistant", content="I look.", reasoning="Hm.", tool_calls=(call,)),
        ChatMessage(role="tool", content="Error: it is dark", tool_call_id="t1", name="look"),
        ChatMessage(role="user", content="And now?"),
    )
    assert [tool.name for tool in found.tools] == ["look"]
    assert found.tools[0].parameters == TOOL["input_schema"]
    assert (found.tool_choice.mode, found.parallel_tool_calls) == ("required", False)
    assert found.template_variables == {"enable_thinking": True}
    assert (asked.sampling.temperature, asked.sampling.top_k, asked.sampling.top_p) == (0.5, 4, 0.9)
    assert asked.max_tokens == 9


def test_the_header_line_of_claude_code_is_not_in_the_prompt(gateway: RunningGateway) -> None:
    system = [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197.123; cch=a1b2c;"},
        {"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}},
    ]
    gateway.post(PATH, json=HELLO | {"system": system})
    assert prompt(gateway).messages[0].content == "You are an agent."


def test_system_turns_in_the_middle_reach_the_model_as_reminders(gateway: RunningGateway) -> None:
    turns = [
        {"role": "user", "content": "hi"},
        {"role": "system", "content": "There are two agents."},
    ]
    gateway.post(PATH, json=HELLO | {"messages": turns})
    (only,) = prompt(gateway).messages
    assert only.role == "user"
    assert only.content is not None
    assert "There are two agents." in only.content


def test_the_beginning_of_the_answer_is_continued(gateway: RunningGateway) -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Well, "}]
    gateway.post(PATH, json=HELLO | {"messages": turns})
    assert prompt(gateway).template_variables == {"continue_final_message": True}


def test_a_schema_and_an_effort_are_passed_on(gateway: RunningGateway) -> None:
    schema = {"type": "object"}
    form = {"type": "json_schema", "schema": schema}
    gateway.post(PATH, json=HELLO | {"output_config": {"effort": "max", "format": form}})
    assert gateway.service.asked[-1].format.schema == schema
    assert prompt(gateway).template_variables == {"reasoning_effort": "high"}


def test_no_tokens_wanted_means_none_shown(
    gateway: RunningGateway, client: anthropic.Anthropic
) -> None:
    message = client.messages.create(**HELLO | {"max_tokens": 0})
    assert (message.content, message.stop_reason) == ([], "end_turn")
    assert message.usage.output_tokens == 0
    assert gateway.service.asked[-1].max_tokens == 1


def test_images_in_results_do_not_end_a_conversation(gateway: RunningGateway) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}}
    turns = [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "look"}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t",
                                      "content": [image]}]},
    ]  # fmt: skip
    gateway.post(PATH, json=HELLO | {"messages": turns})
    assert "cannot see" in (prompt(gateway).messages[-1].content or "")
    refused = [{"role": "user", "content": [image]}]
    assert "image" in refusal(gateway, 400, messages=refused)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]},
         "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "tool_use_id"),
        ({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a"}]}]},
         "messages[0].content[0].name"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"tools": [{"description": "nameless"}]}, "tools[0].name"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "other"}}, "tool_choice.name"),
        ({"stop_sequences": ["x"] * 17}, "stop_sequences"),
        ({"service_tier": "first"}, "service_tier"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(gateway: RunningGateway, body: Any, named: str) -> None:
    assert named in refusal(gateway, 400, **body)
    assert not gateway.service.asked


def test_errors_are_those_that_the_client_knows(
    gateway: RunningGateway, client: anthropic.Anthropic
) -> None:
    gateway.service.script = [ContextLengthExceeded("3000 tokens of 2048")]
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long"):
        client.messages.create(**HELLO)
    gateway.service.script = [Overloaded("Too many.", retry_after=3)]
    with pytest.raises(anthropic.RateLimitError) as crowded:
        client.messages.create(**HELLO)
    assert crowded.value.response.headers["retry-after"] == "3"
    gateway.service.script = [ModelLoading("Loading.", retry_after=2)]
    assert "Loading" in refusal(gateway, 503)
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(**HELLO | {"model": "claude"})


def test_an_error_in_the_middle_is_an_event(
    gateway: RunningGateway, client: anthropic.Anthropic
) -> None:
    gateway.service.script = [TokenChunk(text="so"), EngineDied("It died.")]
    with pytest.raises(anthropic.APIStatusError, match="It died"):  # noqa: SIM117
        with client.messages.stream(**HELLO) as stream:
            stream.until_done()


def test_silence_is_filled_with_pings(gateways: RunningGateways) -> None:
    gateway = gateways.with_settings(ping_seconds=0.05)
    gateway.service.script = [0.2, *say("hi")]
    text = gateway.post(PATH, json=HELLO | {"stream": True}).text
    assert 'event: ping\ndata: {"type":"ping"}' in text
    assert text.index("event: ping") < text.index("message_start")


def test_tokens_are_counted_without_an_answer(
    gateway: RunningGateway, client: anthropic.Anthropic
) -> None:
    counted = client.messages.count_tokens(
        model="starter", system="abc", messages=[{"role": "user", "content": "de"}]
    )
    assert counted.input_tokens == len("abc\nde\n")
    assert not gateway.service.asked
    assert "messages" in refusal(gateway, 400, PATH + "/count_tokens", messages=[])


def test_models_are_listed_in_both_words(client: anthropic.Anthropic) -> None:
    models = list(client.models.list())
    assert [entry.id for entry in models] == ["starter", "org/big"]
    assert {entry.type for entry in models} == {"model"}
    assert client.models.retrieve("starter").display_name == "starter"


def test_keys_and_classes_are_those_of_every_other_endpoint(gateways: RunningGateways) -> None:
    gateway = gateways.with_settings(api_keys=("sesame name=ann class=normal",))
    assert gateway.post(PATH, json=HELLO).json()["error"]["type"] == "authentication_error"
    for headers in ({"x-api-key": "sesame"}, {"authorization": "Bearer sesame"}):
        answer = gateway.post(PATH, json=HELLO, headers=headers | {"x-priority": "interactive"})
        assert answer.status_code == 200
        asked = gateway.service.asked[-1]
        assert (asked.tenant, asked.priority) == ("ann", Priority.NORMAL)
    batch = {"x-api-key": "sesame", "x-priority": "batch"}
    gateway.post(PATH, json=HELLO, headers=batch)
    assert gateway.service.asked[-1].priority is Priority.BATCH
