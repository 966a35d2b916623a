"""A whole answer comes back: several choices, reasoning, tool calls, JSON, in any pieces."""

import json

from hypothesis import given
from hypothesis import strategies as st

from ai_assistant.policy.answer import AnswerRestorer
from ai_assistant.policy.vault import Entry, Vault
from ai_assistant.protocol.chunks import TokenChunk, ToolCallDelta

VAULT = Vault((Entry("EMAIL_1", 'a"b@x.org', "email"), Entry("PHONE_1", "138 0000", "phone")))


def pieces(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


@given(st.integers(1, 9), st.integers(1, 9))
def test_reasoning_text_and_calls_in_any_pieces(first: int, second: int) -> None:
    restorer = AnswerRestorer(VAULT)
    chunks = [TokenChunk(reasoning=one) for one in pieces("I see [EMAIL_1] and [EMAIL", first)]
    chunks += [TokenChunk(text=one) for one in pieces("To [EMAIL_1] or PHONE_1", second)]
    for index, arguments in enumerate(('{"to": "[EMAIL_1]"}', '{"n": ["[PHONE_1]"]}')):
        chunks += [
            TokenChunk(tool_calls=(ToolCallDelta(index=index, arguments=one),))
            for one in pieces(arguments, first)
        ]
    chunks.append(TokenChunk(finish="tool_calls"))
    done = [restorer.restore(chunk) for chunk in chunks]
    assert "".join(one.reasoning for one in done) == 'I see a"b@x.org and [EMAIL'
    assert "".join(one.text for one in done) == 'To a"b@x.org or 138 0000'
    called: dict[int, str] = {}
    for one in done:
        for delta in one.tool_calls:
            called[delta.index] = called.get(delta.index, "") + delta.arguments
    assert [json.loads(one) for one in called.values()] == [
        {"to": 'a"b@x.org'}, {"n": ["138 0000"]}]  # fmt: skip


def test_choices_do_not_mix() -> None:
    restorer = AnswerRestorer(VAULT)
    told = {0: "", 1: ""}
    for index, text in ((0, "[EMA"), (1, "[PHO"), (0, "IL_1]"), (1, "NE_1]")):
        told[index] += restorer.restore(TokenChunk(index=index, text=text)).text
    assert told == {0: 'a"b@x.org', 1: "138 0000"}


def test_text_that_is_json_stays_json() -> None:
    restorer = AnswerRestorer(VAULT, json_text=True)
    done = restorer.restore(TokenChunk(text='{"mail": "[EMAIL_1]"}', finish="stop"))
    assert json.loads(done.text) == {"mail": 'a"b@x.org'}


def test_what_is_held_comes_with_the_end() -> None:
    restorer = AnswerRestorer(VAULT)
    assert restorer.restore(TokenChunk(text="see [EMAIL")).text == "see "
    last = restorer.restore(TokenChunk(finish="length"))
    assert (last.text, last.finish) == ("[EMAIL", "length")


def test_without_placeholders_the_very_pieces_pass() -> None:
    piece = TokenChunk(text="[EMAIL", finish=None)
    assert AnswerRestorer(Vault()).restore(piece) is piece
