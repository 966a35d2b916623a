"""What is taken out comes back letter by letter, and stays out wherever it stands."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.policy.policy_parts import PATIENT, chat

from ai_assistant.policy.redact import Redacted, redact
from ai_assistant.policy.request_text import texts_of, with_texts, without_owner
from ai_assistant.policy.restore import restored
from ai_assistant.policy.scan import BUILT_IN, Part, Scanner
from ai_assistant.policy.vault import Vault
from ai_assistant.protocol.requests import (
    ChatMessage,
    ChatPrompt,
    EmbedRequest,
    GenerateRequest,
    OutputFormat,
    Partial,
    TextPrompt,
    TokenPrompt,
    Tool,
    ToolCall,
)

SCANNER = Scanner(seconds=PATIENT)
PIECES = st.sampled_from(
    [
        "alice@example.com",
        "13812345678",
        "138 1234 5678",
        "4111111111111111",
        "[EMAIL_1]",
        "EMAIL_2",
        " and ",
        "，",
        "\n",
        "hello",
        "好",
        "[",
        "]",
        "11010519491231002X",
        "my password is hunter2! ",
    ]
)


def taken_out(*parts: Part, vault: Vault | None = None) -> Redacted:
    scan = SCANNER.scan(parts)
    return redact(parts, scan.findings, BUILT_IN, vault or Vault())


@given(st.lists(st.lists(PIECES, max_size=8).map("".join), min_size=1, max_size=4))
def test_what_was_taken_out_comes_back(texts: list[str]) -> None:
    done = taken_out(*map(Part, texts))
    for entry in done.used:
        if len(entry.value) >= 6:
            assert not any(entry.value in text for text in done.texts)
    assert [restored(text, done.vault) for text in done.texts] == texts


def test_placeholders_are_stable_in_a_conversation() -> None:
    first = taken_out(Part("a@x.org and b@x.org"))
    assert first.texts == ("[EMAIL_1] and [EMAIL_2]",)
    later = taken_out(Part("c@x.org, b@x.org, a@x.org"), vault=first.vault)
    assert later.texts == ("[EMAIL_3], [EMAIL_2], [EMAIL_1]",)
    assert later.counts == {"email": 3}


def test_a_placeholder_that_a_person_wrote_is_not_used() -> None:
    done = taken_out(Part("what is [EMAIL_1]? mine is a@x.org"))
    assert done.texts == ("what is [EMAIL_1]? mine is [EMAIL_2]",)


def test_no_spelling_of_a_written_placeholder_is_used() -> None:
    done = taken_out(Part("see Email 1, email-2 and x3EMAIL\\_3; I am a@x.org"))
    assert done.texts[0].endswith("I am [EMAIL_4]")


def test_the_same_text_without_words_beside_it_goes_too() -> None:
    done = taken_out(Part("MRN: 12345678"), Part("so 12345678 it is"))
    assert done.texts == ("MRN: [MEDICAL_RECORD_1]", "so [MEDICAL_RECORD_1] it is")


@pytest.mark.parametrize(
    "text",
    [
        '{"to": "alice@example.com", "n": 1}',
        '{"phone": 13812345678}',
        '{"note": "call\\n13812345678 \\"now\\""}',
        '{"u": "a\\u006cice@example.com", "v": "alice@example.com"}',
        '["4111 1111", "1111 1111", 4111111111111111]',
        '{"password": "hunter2\\\\"}',
    ],
)
def test_arguments_stay_json(text: str) -> None:
    done = taken_out(Part(text, json=True))
    after = json.loads(done.texts[0])
    back = json.loads(restored(done.texts[0], done.vault, json=True))
    before = (
        json.loads(text, parse_int=str) if "phone" in text or "4111" in text else json.loads(text)
    )
    assert after != before
    assert back == before


def test_every_text_of_a_request_is_read() -> None:
    request = GenerateRequest(
        request_id="r",
        model="m",
        tenant="alice@tenant.org",
        prompt=ChatPrompt(
            messages=(
                ChatMessage(role="system", content="1@x.org", name="2@x.org"),
                ChatMessage(
                    role="assistant",
                    reasoning="3@x.org",
                    tool_calls=(
                        ToolCall(id="4@x.org", name="5@x.org", arguments='{"a":"6@x.org"}'),
                    ),
                ),
                ChatMessage(role="tool", content="7@x.org", tool_call_id="4@x.org"),
            ),
            tools=(Tool(name="t", description="8@x.org", parameters={"9@x.org": ["10@x.org"]}),),
            template_variables={"v": {"w": "11@x.org"}, "number": 13812345678},
        ),
        stop=("12@x.org",),
        format=OutputFormat(kind="json_schema", schema={"const": "13@x.org"}, grammar="14@x.org"),
        partial=Partial(text="15@x.org", reasoning="16@x.org", tokens=(1, 2)),
    )
    texts = texts_of(request)
    assert not texts.opaque
    done = taken_out(*texts.parts)
    written = repr(without_owner(with_texts(request, list(done.texts))))
    assert "x.org" not in written
    assert "13812345678" not in written
    assert "tenant.org" not in written
    assert "tokens=()" in written
    assert with_texts(request, [part.text for part in texts.parts]).prompt == request.prompt


def test_requests_for_vectors_are_read() -> None:
    request = EmbedRequest(request_id="r", model="m", inputs=(TextPrompt("a@x.org"),))
    done = taken_out(*texts_of(request).parts)
    assert with_texts(request, list(done.texts)).inputs == (TextPrompt("[EMAIL_1]"),)


def test_token_ids_cannot_be_read() -> None:
    request = GenerateRequest(request_id="r", model="m", prompt=TokenPrompt((1, 2, 3)))
    assert texts_of(request).opaque
    assert not texts_of(chat("hello")).opaque


def test_what_is_hidden_does_not_show_in_a_log() -> None:
    assert "x.org" not in repr(taken_out(Part("a@x.org")).vault)
