"""What a node may ask beyond OpenAI's API: no more than a prompt, whoever asks it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_assistant.gateway.keys import Standing
from ai_assistant.gateway.wire_chat import read_chat, to_request
from ai_assistant.gateway.wire_completions import read_completion, to_requests
from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.protocol.errors import RequestError
from ai_assistant.protocol.requests import ChatPrompt, GenerateRequest, Partial, TextPrompt
from ai_assistant.protocol.spelling import Spelled, is_sound
from ai_assistant.workers.remote.kinds import KINDS, Target
from ai_assistant.workers.remote.openai_request import generate_call

FILE = "ab" * 16
STANDING = Standing()
SAID = Spelled(text="One two", cuts=(3, 4), model=FILE, seed=9)


def chat(fields: Any, last: str = "One two", **more: Any) -> GenerateRequest:
    """What a body asks whose conversation ends with the answer."""
    messages = [{"role": "user", "content": "Count"}, {"role": "assistant", "content": last}]
    body = {"messages": messages, "ai_assistant": fields, "max_tokens": 8, **more}
    wire = read_chat(msgspec.json.encode(body))
    return to_request(wire, request_id="r", model="m", standing=STANDING)


def test_what_a_node_sends_is_what_another_one_reads() -> None:
    kind = KINDS["ai-assistant"]
    target = Target(provider="desk", model="m", kind=kind, abilities=kind.abilities,
                    continues=kind.continues, max_output=100)  # fmt: skip
    asked = chat({"spell": True})
    assert isinstance(asked.prompt, ChatPrompt)
    partial = Partial(text="Three", reasoning="hm", generated=2, spelled=SAID)
    call = generate_call(msgspec.structs.replace(asked, partial=partial), target)
    wire = read_chat(call.body)
    read = to_request(wire, request_id="r", model="m", standing=STANDING)
    assert read == msgspec.structs.replace(asked, partial=partial)


def test_texts_are_parted_where_the_answer_began() -> None:
    body = {"prompt": "Count: One two", "max_tokens": 8,
            "ai_assistant": {"partial": {"text": 7, "spelled": SAID}}}  # fmt: skip
    wire = read_completion(msgspec.json.encode(body))
    (asked,) = to_requests(wire, request_id="r", model="m", standing=STANDING)
    assert asked.prompt == TextPrompt("Count: ")
    assert asked.max_tokens == 10
    assert asked.partial == Partial(text="One two", generated=2, spelled=SAID)


@pytest.mark.parametrize(
    "partial",
    [
        {"text": 6, "spelled": SAID},
        {"text": -1, "spelled": SAID},
        {"text": 7, "spelled": msgspec.structs.replace(SAID, cuts=(3, 5))},
        {"text": 7, "spelled": msgspec.structs.replace(SAID, cuts=(8, -1))},
        {"text": 7, "spelled": msgspec.structs.replace(SAID, cuts=())},
        {"text": 7, "spelled": msgspec.structs.replace(SAID, start=4)},
        {"text": 7, "spelled": msgspec.structs.replace(SAID, model="../../etc")},
        {"text": 7, "spelled": msgspec.structs.replace(SAID, seed=2**63)},
        {"text": 7, "spelled": {"text": "One two", "cuts": ["a"]}},
        {"text": 7},
        "One two",
    ],
)
def test_what_does_not_fit_is_refused_by_name(partial: Any) -> None:
    with pytest.raises(RequestError) as refused:
        chat({"partial": partial})
    assert (refused.value.param or "").startswith("ai_assistant")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
)
NAMES = st.sampled_from(["spell", "partial", "text", "spelled", "cuts", "model", "seed", "start"])


@given(st.dictionaries(NAMES, JSON | st.dictionaries(NAMES, JSON | st.dictionaries(NAMES, JSON))))
def test_anything_else_is_refused_or_a_sound_request(fields: dict[str, Any]) -> None:
    try:
        asked = chat(fields)
    except RequestError:
        return
    assert asked.partial is None or (asked.partial.spelled and is_sound(asked.partial.spelled))


def test_only_nodes_that_asked_hear_of_tokens() -> None:
    from ai_assistant.gateway.answers import Head
    from ai_assistant.gateway.answers_chat import ChatAnswer
    from ai_assistant.gateway.feed import Piece

    head = Head(id="i", created=0, model="m", system_fingerprint="f")
    chunk = TokenChunk(text="One", spelled=msgspec.structs.replace(SAID, text="One", cuts=(3,)))
    for spell in (False, True):
        answer = ChatAnswer(
            head, n=1, logprobs=False, include_usage=False, timings=False, spell=spell
        )
        assert (b'"cuts":[3]' in answer.events([Piece(0, chunk)])) == spell
