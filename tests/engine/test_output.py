"""What the client sees of the tokens."""

from ai_assistant.engine.kernels import Model
from ai_assistant.engine.output import TextOutput
from ai_assistant.engine.text.formats import choose_parser
from ai_assistant.protocol.requests import ChatMessage, ChatPrompt, Tool

HERMES = "{% for tool in tools %}<tool_call>{% endfor %}"
CALL = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'


def push_all(output: TextOutput, model: Model, text: str) -> bool:
    tokens = model.vocabulary.tokenize(text, add_special=False, parse_special=True)
    return any(output.push(token) for token in tokens)


def calling(model: Model, *, one_call: bool) -> TextOutput:
    prompt = ChatPrompt(
        messages=(ChatMessage(role="user", content="Call f."),), tools=(Tool(name="f"),)
    )
    parser = choose_parser(HERMES, prompt, "")
    return TextOutput(model.vocabulary, parser, (), one_call=one_call)


def test_control_tokens_are_hidden(starter: Model) -> None:
    output = TextOutput(starter.vocabulary, None, ())
    push_all(output, starter, "a<|im_end|>b")
    output.close()
    assert output.take(0).text == "ab"


def test_characters_of_several_tokens_come_whole(starter: Model) -> None:
    output = TextOutput(starter.vocabulary, None, ())
    for token in starter.vocabulary.tokenize("🦊 狐狸", add_special=False, parse_special=False):
        output.push(token)
        assert "\ufffd" not in "".join(output._text)
    output.close()
    assert output.take(0).text == "🦊 狐狸"


def test_only_call_ends_the_answer(starter: Model) -> None:
    output = calling(starter, one_call=True)
    assert push_all(output, starter, CALL + "\n" + CALL)
    output.close()
    assert {call.index for call in output.take(0).tool_calls} == {0}
    assert output.reason("stop") == "tool_calls"


def test_several_calls_go_on(starter: Model) -> None:
    output = calling(starter, one_call=False)
    assert not push_all(output, starter, CALL + "\n" + CALL)
    output.close()
    assert {call.index for call in output.take(0).tool_calls} == {0, 1}


def test_length_stays_length_with_a_call(starter: Model) -> None:
    output = calling(starter, one_call=False)
    push_all(output, starter, CALL)
    assert output.reason("length") == "length"
