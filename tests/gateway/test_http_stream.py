import time

from tests.fakes.fake_service import say
from tests.fakes.running_gateway import HELLO, RunningGateway, RunningGateways
from tests.fakes.scripts import CALLS, LOGPROBS, USAGE

from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.protocol.errors import ContextLengthExceeded, EngineDied


def test_a_stream_has_openais_shape(gateway: RunningGateway) -> None:
    with (
        gateway.client() as client,
        client.chat.completions.create(
            model="starter", messages=[{"role": "user", "content": "hi"}], stream=True
        ) as stream,
    ):
        chunks = list(stream)
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.object == "chat.completion.chunk" for chunk in chunks)
    assert [chunk.choices[0].delta.role for chunk in chunks] == ["assistant", None, None]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello"
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, "stop"]


def test_a_stream_ends_with_the_mark_and_without_usage(gateway: RunningGateway) -> None:
    events = gateway.events(HELLO)
    assert events[-1] == "data: [DONE]"
    assert all("usage" not in event for event in events[:-1])


def test_usage_comes_last_when_asked(gateway: RunningGateway) -> None:
    events = gateway.events({**HELLO, "stream_options": {"include_usage": True}})
    assert all(event["usage"] is None for event in events[:-2])
    assert events[-2]["choices"] == []
    assert events[-2]["usage"]["total_tokens"] == 7


def test_timings_come_last_when_asked(gateway: RunningGateway) -> None:
    events = gateway.events({**HELLO, "timings": True})
    assert events[-2]["choices"] == []
    assert events[-2]["timings"]["predicted_n"] == 2
    assert "usage" not in events[-2]


def test_each_choice_begins_with_its_role(gateway: RunningGateway) -> None:
    gateway.service.script = say("a", "b", n=2)
    events = gateway.events({**HELLO, "n": 2})[:-1]
    deltas = [(e["choices"][0]["index"], e["choices"][0]["delta"]) for e in events]
    for index in (0, 1):
        mine = [delta for i, delta in deltas if i == index]
        assert [delta.get("role") for delta in mine] == ["assistant", None, None]
        assert "".join(delta.get("content", "") for delta in mine) == "ab"


def test_tool_calls_stream_as_indexed_deltas(gateway: RunningGateway) -> None:
    gateway.service.script = CALLS
    deltas = [event["choices"][0]["delta"] for event in gateway.events(HELLO)[:-1]]
    assert deltas[0] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "index": 0,
                "id": "a",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city":'},
            }
        ],
    }
    assert deltas[1] == {"tool_calls": [{"index": 0, "function": {"arguments": '"Rome"}'}}]}
    assert deltas[2]["tool_calls"][0]["index"] == 1
    assert deltas[3] == {}


def test_reasoning_streams_apart(gateway: RunningGateway) -> None:
    gateway.service.script = [
        TokenChunk(reasoning="hm"),
        TokenChunk(text="yes", finish="stop", usage=USAGE),
    ]
    deltas = [event["choices"][0]["delta"] for event in gateway.events(HELLO)[:-1]]
    assert deltas == [
        {"role": "assistant", "content": "", "reasoning_content": "hm"},
        {"content": "yes"},
    ]


def test_logprobs_stream_in_the_chat_shape(gateway: RunningGateway) -> None:
    gateway.service.script = LOGPROBS
    events = gateway.events({**HELLO, "logprobs": True, "top_logprobs": 2})
    content = events[0]["choices"][0]["logprobs"]["content"]
    assert content[0]["bytes"] == [195, 169]
    assert len(content[0]["top_logprobs"]) == 2


def test_an_error_before_the_first_chunk_has_a_status(gateway: RunningGateway) -> None:
    gateway.service.script = [ContextLengthExceeded("Too long.")]
    error = gateway.error(400, json={**HELLO, "stream": True})
    assert error["code"] == "context_length_exceeded"


def test_an_error_in_the_middle_is_the_last_event(gateway: RunningGateway) -> None:
    gateway.service.script = [TokenChunk(text="a"), 0.02, EngineDied("It ended.")]
    events = gateway.events(HELLO)
    assert [set(event) & {"choices", "error"} for event in events] == [{"choices"}, {"error"}]
    assert events[-1]["error"]["code"] == "engine_died"
    assert len(gateway.service.ended) == 1


def test_a_fault_in_the_middle_tells_no_secret(gateway: RunningGateway) -> None:
    gateway.service.script = [TokenChunk(text="a"), 0.02, RuntimeError("secret")]
    error = gateway.events(HELLO)[-1]["error"]
    assert error["code"] == "internal_error"
    assert "secret" not in error["message"]


def test_an_answer_cut_short_is_an_error(gateway: RunningGateway) -> None:
    gateway.service.script = [TokenChunk(text="a")]
    assert gateway.events(HELLO)[-1]["error"]["code"] == "engine_error"
    assert gateway.error(500, json=HELLO)["code"] == "engine_error"


def test_the_first_token_does_not_wait_for_the_second(gateway: RunningGateway) -> None:
    gateway.service.script = [TokenChunk(text="a"), 30.0]
    started = time.monotonic()
    with (
        gateway.client() as client,
        client.chat.completions.create(
            model="starter", messages=[{"role": "user", "content": "hi"}], stream=True
        ) as stream,
    ):
        assert next(iter(stream)).choices[0].delta.content == "a"
    assert time.monotonic() - started < 5


def test_silence_is_filled_with_comments(gateways: RunningGateways) -> None:
    gateway = gateways.with_settings(ping_seconds=0.05)
    gateway.service.script = [0.18, *say("a")]
    events = gateway.events(HELLO)
    pings = [event for event in events if event == ": ping"]
    assert len(pings) >= 2
    assert events[: len(pings)] == pings
    assert events[-1] == "data: [DONE]"
    gateway.service.script = [TokenChunk(text="a"), 0.12, TokenChunk(finish="stop", usage=USAGE)]
    assert gateway.events(HELLO)[1] == ": ping"
