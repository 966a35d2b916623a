"""The client: events, waits and errors, against the real gateway where that is possible."""

from collections.abc import Callable

import pytest
from tests.cli.conftest import Served
from tests.fakes.fake_service import FakeService, Step, model, say

from ai_assistant.cli.answer import Answer
from ai_assistant.cli.client import Client, Delta, Waiting, delta_from, refusal_from
from ai_assistant.cli.connect import local_url
from ai_assistant.cli.errors import CommandError, NodeRefused, NodeUnreachable
from ai_assistant.cli.sse import events
from ai_assistant.protocol.chunks import TokenChunk, Usage
from ai_assistant.protocol.errors import EngineDied, ModelLoading, Overloaded
from ai_assistant.protocol.requests import GenerateRequest

Serve = Callable[..., Served]
QUESTION = {"messages": [{"role": "user", "content": "?"}]}


def answer_of(client: Client) -> str:
    return "".join(piece.text for piece in client.answer(QUESTION))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_events_do_not_depend_on_how_bytes_arrive(size: int) -> None:
    text = ': ping\r\n\r\ndata: {"a": "\u2028é"}\r\n\r\nevent: x\ndata:1\ndata: 2\n\ndata: cut'
    sent = text.encode()
    pieces = [sent[i : i + size] for i in range(0, len(sent), size)]
    assert list(events(pieces)) == ['{"a": "\u2028é"}', "1\n2"]


def test_an_answer_with_usage(serve: Serve) -> None:
    node = serve()
    client = Client(node.url)
    pieces = list(client.answer(QUESTION))
    client.close()
    assert "".join(piece.text for piece in pieces) == "Hello"
    assert pieces[-1].usage == Usage(prompt_tokens=5, completion_tokens=2)
    assert {piece.model for piece in pieces} == {"starter"}


def test_separators_inside_json_do_not_end_a_line(serve: Serve) -> None:
    node = serve(FakeService(script=say("a\u2028b\x85c\r\nd")))
    client = Client(node.url)
    assert answer_of(client) == "a\u2028b\x85c\r\nd"
    client.close()


def test_a_loading_model_is_waited_for(serve: Serve) -> None:
    tries: list[str] = []

    def script(request: GenerateRequest) -> list[Step]:
        tries.append(request.request_id)
        if len(tries) == 1:
            return [ModelLoading("The model is loading.", retry_after=1, progress=0.4)]
        return say("here")

    node = serve(FakeService(script=script), load_wait_seconds=0.0)
    client = Client(node.url)
    seen: list[Waiting | None] = []
    assert "".join(piece.text for piece in client.answer(QUESTION, seen.append)) == "here"
    client.close()
    waiting = seen[0]
    assert waiting is not None
    assert waiting.progress == 0.4
    assert waiting.seconds == 1
    assert seen[-1] is None


def test_a_load_is_watched_until_it_is_done(serve: Serve) -> None:
    loading = model("starter", state="loading", default=True)
    node = serve(FakeService(models=(loading,)))
    client = Client(node.url)
    seen: list[Waiting | None] = []

    def see(waiting: Waiting | None) -> None:
        seen.append(waiting)
        node.service.models = (model("starter", default=True),)

    assert "".join(piece.text for piece in client.answer(QUESTION, see)) == "Hello"
    client.close()
    assert seen[0] is not None
    assert seen[0].message == "starter is being loaded."
    assert len(node.service.asked) == 1


def test_an_error_without_hope_is_not_waited_for(serve: Serve) -> None:
    node = serve(FakeService(script=[EngineDied("The engine died.")]))
    client = Client(node.url)
    with pytest.raises(NodeRefused) as caught:
        answer_of(client)
    client.close()
    assert caught.value.code == "engine_died"
    assert len(node.service.asked) == 1


def test_an_error_inside_an_answer_ends_it(serve: Serve) -> None:
    script: list[Step] = [TokenChunk(text="Hel"), Overloaded("Too many.", retry_after=0.1)]
    node = serve(FakeService(script=script))
    client = Client(node.url)
    got: list[str] = []
    with pytest.raises(CommandError, match="Too many"):
        got.extend(piece.text for piece in client.answer(QUESTION))
    client.close()
    assert len(node.service.asked) == 1


def test_nobody_there(free_port: int) -> None:
    client = Client(f"http://127.0.0.1:{free_port}")
    with pytest.raises(NodeUnreachable, match="No node answers") as caught:
        client.status()
    client.close()
    assert caught.value.exit_code == 3
    assert "ai-assistant serve" in caught.value.hint


def test_a_wrong_key_says_what_to_do(serve: Serve) -> None:
    node = serve(api_keys=("right",))
    client = Client(node.url, "wrong")
    with pytest.raises(NodeRefused) as caught:
        client.status()
    client.close()
    assert "AI_ASSISTANT_API_KEY" in caught.value.hint
    opened = Client(node.url, "right")
    assert opened.status().models
    opened.close()


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"error": "no"}', b"", b'{"detail": 1}'])
def test_a_strange_error_body_still_gives_a_line(body: bytes) -> None:
    assert "HTTP 502" in refusal_from(body, 502, {}).message


def test_progress_and_patience_are_read_from_the_body() -> None:
    body = b'{"error": {"message": "m", "code": "model_loading", "loading": {"progress": 0.5}}}'
    refusal = refusal_from(body, 503, {"retry-after": "2"})
    assert (refusal.progress, refusal.retry_after) == (0.5, 2.0)


def test_a_chunk_without_choices_is_no_text() -> None:
    assert delta_from({"choices": [], "model": "m"}) == Delta(model="m")


def test_reasoning_has_two_names() -> None:
    for name in ("reasoning", "reasoning_content"):
        assert delta_from({"choices": [{"delta": {name: "hm"}}]}).reasoning == "hm"


def test_speed_is_measured_after_the_first_token() -> None:
    ticks = iter([10.0, 10.5, 11.0, 11.5])
    answer = Answer(clock=lambda: next(ticks))
    for _ in range(3):
        answer.add(Delta(text="x"))
    answer.add(Delta(finish="stop", usage=Usage(prompt_tokens=4, completion_tokens=3)))
    assert answer.first_token_seconds == 0.5
    assert answer.tokens_per_second == 2.0
    assert "2.0 tokens/s · first token after 500 ms" in answer.summary()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:1"),
        ("0.0.0.0", "http://127.0.0.1:1"),
        ("::", "http://[::1]:1"),
        ("[::1]", "http://[::1]:1"),
    ],
)
def test_the_address_to_call(host: str, url: str) -> None:
    assert local_url(host, 1) == url
