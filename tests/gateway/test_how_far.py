"""An answer that breaks off says how far it got, in the words of every API and for every cause."""

import json
from collections.abc import Sequence
from typing import Any

import openai
import pytest
from tests.fakes.fake_service import Step
from tests.fakes.running_gateway import RunningGateways, eventually, request_bytes
from tests.fakes.scripts import CALLS

from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.protocol.errors import StreamBroken

HELLO = {"messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 9}
SAID: list[Step] = [
    TokenChunk(reasoning="Hm, "),
    TokenChunk(text="Good "),
    TokenChunk(text="day"),
    TokenChunk(),
]
REACHED = {"characters": 12, "tokens": 3, "tool_calls": 0}
WORDS = "The answer ended after 12 characters, 3 tokens."
APIS = [
    ("/v1/chat/completions", HELLO),
    ("/v1/completions", {"prompt": "hi", "stream": True}),
    ("/v1/messages", HELLO | {"model": "starter"}),
    ("/v1/responses", {"input": "hi", "stream": True}),
    ("/api/chat", HELLO | {"model": "starter"}),
    ("/api/generate", {"model": "starter", "prompt": "hi", "stream": True}),
]


def last_error(path: str, text: str) -> dict[str, Any]:
    """The error with which a stream ends, its message and how far it got on one level."""
    lines = [line.removeprefix("data: ") for line in text.splitlines()]
    last = json.loads([line for line in lines if line.startswith("{")][-1])
    if path.startswith("/api/"):
        return {"message": last.pop("error"), **last}
    return last["response"]["error"] if path == "/v1/responses" else last["error"]


def broken(
    gateways: RunningGateways, path: str, body: dict[str, Any], script: Sequence[Step]
) -> dict[str, Any]:
    gateway = gateways.with_settings()
    gateway.service.script = [*script, StreamBroken("there ended the connection in the middle.")]
    return last_error(path, gateway.post(path, json=body).text)


@pytest.mark.parametrize(("path", "body"), APIS)
def test_a_stopping_node_says_how_far_its_answers_got(
    gateways: RunningGateways, path: str, body: dict[str, Any]
) -> None:
    with gateways.alone(drain_seconds=0.2) as (gateway, stop), gateway.connect() as connection:
        gateway.service.script = [*SAID, 60.0]
        connection.sendall(request_bytes(json.dumps(body).encode(), path))
        received = b""
        while b"day" not in received:
            received += connection.recv(65536)
        stop()
        while part := connection.recv(65536):
            received += part
        eventually(lambda: gateway.ended)
    error = last_error(path, received.decode())
    assert error["message"].endswith(WORDS)
    assert "send the request again" in error["message"]
    assert error["reached"] == REACHED


@pytest.mark.parametrize(("path", "body"), APIS)
def test_so_does_every_other_error_in_the_middle(
    gateways: RunningGateways, path: str, body: dict[str, Any]
) -> None:
    error = broken(gateways, path, body, SAID)
    assert error["message"] == f"there ended the connection in the middle. {WORDS}"
    assert error["reached"] == REACHED


def test_tool_calls_are_counted_once_each(gateways: RunningGateways) -> None:
    path, body = APIS[0]
    error = broken(gateways, path, body, CALLS[:3])
    assert error["reached"] == {"characters": 0, "tokens": 3, "tool_calls": 2}
    assert error["message"].endswith("after 3 tokens, 2 tool calls.")


def test_where_nothing_was_said_nothing_is_added(gateways: RunningGateways) -> None:
    path, body = APIS[0]
    error = broken(gateways, path, body, [TokenChunk()])
    assert "reached" not in error
    assert error["message"].endswith("in the middle.")


def test_whole_answers_that_fail_gave_the_client_nothing(gateways: RunningGateways) -> None:
    gateway = gateways.with_settings()
    gateway.service.script = [*SAID, StreamBroken("It broke.")]
    error = gateway.error(502, json=HELLO | {"stream": False})
    assert (error["message"], "reached" in error) == ("It broke.", False)


def test_a_node_that_goes_on_elsewhere_hears_the_error_alone(gateways: RunningGateways) -> None:
    path, body = APIS[0]
    error = broken(gateways, path, body | {"ai_assistant": {"spell": True}}, SAID)
    assert (error["message"], "reached" in error) == (
        "there ended the connection in the middle.", False,
    )  # fmt: skip


def test_the_official_client_reads_it(gateways: RunningGateways) -> None:
    gateway = gateways.with_settings()
    gateway.service.script = [*SAID, StreamBroken("It broke.")]
    stream = gateway.client().chat.completions.create(
        model="starter", messages=[{"role": "user", "content": "hi"}], stream=True
    )
    with pytest.raises(openai.APIError) as raised:
        list(stream)
    assert raised.value.message.endswith(WORDS)
    body: Any = raised.value.body
    assert body["reached"] == REACHED
