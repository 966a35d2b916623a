"""Real templates render what they should, and broken or hostile ones do no harm."""

import pytest
from answers import (
    ASK,
    CODER,
    DEEPSEEK,
    GEMMA,
    GEMMA2,
    GLM,
    GPT_OSS,
    LLAMA,
    MINISTRAL,
    NEMO,
    QWEN,
    QWEN35,
    R1,
    STOP,
    WEATHER,
    template,
)

from ai_assistant.engine.text import sandbox
from ai_assistant.engine.text.template import ChatTemplate
from ai_assistant.protocol.errors import InvalidRequest
from ai_assistant.protocol.requests import ChatMessage, ChatPrompt, ToolCall, ToolChoice

ALL = (CODER, DEEPSEEK, GEMMA, GEMMA2, GLM, GPT_OSS, LLAMA, MINISTRAL, NEMO, QWEN, QWEN35, R1)
ARGUMENTS = '{"city": "Zürich <b>", "days": 2}'
USER, SYSTEM = (
    ChatMessage(role="user", content="Hello?"),
    ChatMessage(role="system", content="Sys."),
)
CONTINUE = {"continue_final_message": True}
CALL = ChatMessage(
    role="assistant",
    reasoning="Because.",
    tool_calls=(ToolCall(id="call_1", name="get_weather", arguments=ARGUMENTS),),
)
RESULT = ChatMessage(role="tool", content="Sunny.", tool_call_id="call_1")
ANSWER = ChatMessage(role="assistant", content="It is sunny.")
TALK = (USER, CALL, RESULT, ANSWER, ChatMessage(role="user", content="Thanks!"))


def render(source: str | None, *messages: ChatMessage, **fields: object) -> str:
    return ChatTemplate(source, "<s>", "</s>").render(ChatPrompt(messages=messages, **fields))


@pytest.mark.parametrize("name", ALL)
def test_a_conversation_with_tools_is_all_there(name: str) -> None:
    text = render(template(name), *TALK, tools=(WEATHER, STOP))
    places = [
        text.find(part) for part in ("Hello?", "Zürich <b>", "Sunny.", "It is sunny.", "Thanks!")
    ]
    assert all(place >= 0 for place in places), text
    assert places == sorted(places)
    assert "The weather in a city" in text
    assert "stop" in text


@pytest.mark.parametrize("name", ALL)
def test_the_last_message_can_be_continued(name: str) -> None:
    begun = ChatMessage(role="assistant", content="Once upon a ")
    text = render(template(name), USER, begun, template_variables=CONTINUE)
    assert text.endswith("Once upon a ")


def test_qwen_is_rendered_to_the_letter() -> None:
    assert render(template(QWEN), SYSTEM, USER, template_variables={"enable_thinking": False}) == (
        "<|im_start|>system\nSys.<|im_end|>\n<|im_start|>user\nHello?<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )


def test_template_variables_reach_the_template() -> None:
    assert "Reasoning: high" in render(
        template(GPT_OSS), USER, template_variables={"reasoning_effort": "high"}
    )
    thinking = render(template(DEEPSEEK), USER, template_variables={"enable_thinking": True})
    assert thinking.endswith("<think>")


def test_tools_that_may_not_be_called_are_not_shown() -> None:
    text = render(template(QWEN), USER, tools=(STOP,), tool_choice=ToolChoice(mode="none"))
    assert "stop" not in text


def test_reasoning_can_be_continued() -> None:
    begun = ChatMessage(role="assistant", reasoning="I think ")
    text = render(template(QWEN35), USER, begun, template_variables=CONTINUE)
    assert text.endswith("<think>\nI think ")


@pytest.mark.parametrize("name", [GEMMA2, None])
def test_tools_become_text_where_the_template_knows_none(name: str | None) -> None:
    text = render(name and template(name), *TALK, tools=(WEATHER,))
    assert '<tools>\n{"type": "function"' in text
    assert '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich <b>"' in text
    assert "<tool_response>\nSunny.\n</tool_response>" in text


def test_mistral_gets_ids_of_its_own_length() -> None:
    text = render(template(NEMO), *TALK, tools=(WEATHER,))
    assert '"call_id": "' in text
    assert "call_1" not in text


def test_a_refusal_is_the_request_s_fault() -> None:
    with pytest.raises(InvalidRequest, match="System role not supported") as error:
        render(template(GEMMA2), SYSTEM, USER)
    assert error.value.param == "messages"
    with pytest.raises(InvalidRequest, match="must alternate"):
        render(template(GEMMA2), USER, USER)


def test_developers_speak_as_the_system_where_there_are_none() -> None:
    text = render(template(QWEN), ChatMessage(role="developer", content="Be kind."), USER)
    assert text.startswith("<|im_start|>system\nBe kind.")
    assert "Be kind." in render(
        template(GPT_OSS), ChatMessage(role="developer", content="Be kind.")
    )


@pytest.mark.parametrize(
    "source", [None, "", "{% if %}", "{{ messages | no_such_filter }}", "{{ 1 / 0 }}"]
)
def test_without_a_usable_template_it_is_chatml(source: str | None) -> None:
    chat = ChatTemplate(source, "", "")
    assert chat.note is not None
    assert chat.render(ASK) == "<|im_start|>user\nHello?<|im_end|>\n<|im_start|>assistant\n"


def test_json_is_written_as_it_is() -> None:
    source = (
        "{{ messages[0].content }}{{ {'a': '<é&>'} | tojson }}{% generation %}!{% endgeneration %}"
    )
    assert render(source, USER) == 'Hello?{"a": "<é&>"}!'


def test_arguments_that_are_no_object_stay_text() -> None:
    call = ChatMessage(
        role="assistant", tool_calls=(ToolCall(id="1", name="f", arguments="[not json"),)
    )
    assert "[not json" in render(template(QWEN), USER, call)


GUARD = "{% if messages[0].content != 'Hello?' %}{{ messages[0].content }}{% else %}"


@pytest.mark.parametrize(
    "attack",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% set l = range(9999) | list %}{% for a in l %}{% for b in l %}{% endfor %}{% endfor %}",
        "{% for a in range(99999999) %}x{% endfor %}",
        "{% for a in range(90000) %}{{ 'x' * 1000 }}{% endfor %}",
        "{{ 'x' * 999999999 }}",
        "{{ 999999999 * [1] }}",
        "{{ 9 ** 99999999 }}",
        "{{ 'x'.ljust(999999999) }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%999999999d' | format(1) }}",
        "{{ '{:999999999}'.format(1) }}",
        "{% set n = namespace(s='x') %}{% for a in range(99) %}{% set n.s = n.s~n.s %}{% endfor %}",
        "{% set n = namespace(s='x') %}{% for a in range(99) %}{% set n.s = n.s+n.s %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ messages.__class__.__mro__ }}",
        "{% set _ = messages.append(1) %}",
    ],
)
def test_hostile_templates_are_stopped(attack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MAX_STEPS", 100_000)
    monkeypatch.setattr(sandbox, "MAX_OUTPUT", 1_000_000)
    with pytest.raises(InvalidRequest):
        render(f"{GUARD}{attack}{{% endif %}}", USER)


def test_long_conversations_are_within_the_bounds() -> None:
    messages = tuple(
        ChatMessage(role="user" if i % 2 == 0 else "assistant", content=f"{i} " * 500)
        for i in range(401)
    )
    text = render(template(QWEN), *messages)
    assert (messages[400].content or "?") in text
