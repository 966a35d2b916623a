"""What clients say beside a request: labels, regions and the conversation, wherever they say it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_assistant.gateway.said import NOTHING, Said, both, in_body, in_headers, narrower
from ai_assistant.protocol.errors import InvalidRequest

SESSION = "0b5f1c52-6f0e-4a4e-9f5e-0123456789ab"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, NOTHING),
        ({"labels": ["board", "hr"]}, Said(labels=("board", "hr"))),
        ({"labels": "board, hr"}, Said(labels=("board", "hr"))),
        ({"metadata": {"labels": "board"}}, Said(labels=("board",))),
        ({"metadata": {"regions": "eu,ch"}}, Said(regions=("eu", "ch"))),
        ({"conversation": "c1"}, Said(conversation="c1")),
        ({"conversation": {"id": "c1"}}, Said(conversation="c1")),
        ({"metadata": {"session_id": "s"}}, Said(conversation="s")),
        (
            {"metadata": {"user_id": f"user_ab_account__session_{SESSION}"}},
            Said(conversation=SESSION),
        ),
        (
            {"metadata": {"user_id": f'{{"device_id":"d","session_id":"{SESSION}"}}'}},
            Said(conversation=SESSION),
        ),
        ({"prompt_cache_key": SESSION}, Said(conversation=SESSION)),
        ({"prompt_cache_key": "all-of-them"}, Said()),
        ({"metadata": 5, "conversation": 7}, Said()),
    ],
)
def test_bodies(fields: dict[str, object], expected: Said) -> None:
    assert in_body(msgspec.json.encode({"model": "m", **fields})) == expected


@pytest.mark.parametrize("labels", [5, "Board!", ["a", 7], {"a": 1}, "a b"])
def test_labels_that_are_none_are_refused_and_not_forgotten(labels: object) -> None:
    with pytest.raises(InvalidRequest, match="expected names"):
        in_body(msgspec.json.encode({"labels": labels}))


def test_headers() -> None:
    assert in_headers([(b"x-labels", b"board,hr"), (b"x-conversation-id", b"c")]) == Said(
        labels=("board", "hr"), conversation="c"
    )
    assert in_headers([(b"session_id", b"codex")]).conversation == "codex"
    assert in_headers([(b"user-agent", b"x")]) is NOTHING
    with pytest.raises(InvalidRequest, match="X-Labels"):
        in_headers([(b"x-labels", b"<script>")])


def test_both_say_something() -> None:
    one = Said(labels=("a",), regions=("eu", "us"), conversation="header")
    other = Said(labels=("b",), regions=("US",), conversation="body")
    assert both(one, other) == Said(labels=("a", "b"), regions=("us",), conversation="header")
    assert narrower(("eu",), ("us",)) == ("none",)


@given(st.binary(max_size=200))
def test_no_body_breaks_it(body: bytes) -> None:
    for text in (body, b'{"labels":' + body, b'{"metadata":{"x":' + body):
        try:
            in_body(text)
        except InvalidRequest:
            continue
