"""Each family's output is read right, however it is split; nothing raises, no word is lost."""

import re

import pytest
from answers import (
    ASK,
    ASK_WITH_TOOLS,
    CODER,
    GEMMA,
    GEMMA2,
    GPT_OSS,
    LLAMA,
    QWEN,
    SAMPLES,
    Answer,
    Sample,
    read,
    split,
    template,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_assistant.engine.text.formats import Plain, Text, choose_parser
from ai_assistant.engine.text.formats.families import FAMILIES, detect_family
from ai_assistant.protocol.requests import ChatMessage, ChatPrompt, Tool, ToolChoice

CUTS = st.lists(st.integers(0, 2000), max_size=30)
TEMPLATES = sorted({sample.template for sample in SAMPLES})


@pytest.mark.parametrize(
    "sample", SAMPLES, ids=lambda sample: f"{sample.template}-{sample.output[:12]}"
)
def test_real_output_is_read(sample: Sample) -> None:
    source = template(sample.template)
    assert read(source, [sample.output], rendered=sample.rendered) == sample.answer
    assert read(source, sample.output, rendered=sample.rendered) == sample.answer


@settings(max_examples=300, deadline=None)
@given(sample=st.sampled_from(SAMPLES), cuts=CUTS, data=st.data())
def test_any_split_and_any_end_gives_the_same(
    sample: Sample, cuts: list[int], data: st.DataObject
) -> None:
    source = template(sample.template)
    end = data.draw(st.integers(0, len(sample.output)))
    output = sample.output[:end]
    whole = read(source, [output], rendered=sample.rendered)
    assert read(source, split(output, cuts), rendered=sample.rendered) == whole


FRAGMENTS = [
    "zebra", " ", "\n", "{", "}", "}}", "]", ",", ";", '"x"', ":", "<", ">", "null", "True",
    '{"name": "stop", "arguments": {', '{"name": "stop"', '{"arguments": {"a": 1}', "stop",
    "call:stop{", "city:", "get_weather", "functions.stop:0", " to=functions.stop", "analysis",
    "final", "thought\n", "<parameter=city>", "</parameter>", "</function>", "</tool_call>",
    "<function=get_weather>", "```json\n", "é€🙂", "</arg_key>", '<parameter name="city">',
    '<invoke name="stop">',
]  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(name=st.sampled_from(TEMPLATES), cuts=CUTS, opened=st.booleans(), data=st.data())
def test_nonsense_never_raises_and_no_word_is_lost(
    name: str, cuts: list[int], opened: bool, data: st.DataObject
) -> None:
    source = template(name)
    rendered = "<think>\n" if opened else ""
    markers = sorted(choose_parser(source, ASK_WITH_TOOLS, rendered).markers)
    parts = data.draw(st.lists(st.sampled_from(markers * 2 + FRAGMENTS), max_size=25))
    output = "".join(parts)
    whole = read(source, [output], rendered=rendered)
    assert read(source, split(output, cuts), rendered=rendered) == whole
    assert read(source, output, rendered=rendered) == whole
    if name != GPT_OSS:  # a header there is not content
        found = "".join((whole.text, whole.reasoning, *map(str, whole.calls)))
        assert found.count("zebra") == output.count("zebra"), parts


@settings(max_examples=100, deadline=None)
@given(
    name=st.sampled_from(TEMPLATES),
    text=st.text(st.characters(exclude_characters="<[{"), min_size=1),
)
def test_plain_text_streams_at_once_and_unchanged(name: str, text: str) -> None:
    source = template(name)
    assert read(source, text, prompt=ASK).text == text
    parser = choose_parser(source, ASK_WITH_TOOLS, "")
    shown = "".join(piece.text for piece in parser.feed("So: " + text) if isinstance(piece, Text))
    assert shown == ("So: " + text).rstrip() or name == GPT_OSS


def test_every_family_has_a_template_that_shows_its_sign() -> None:
    known = {detect_family(template(name)).name for name in TEMPLATES}
    assert known >= {family.name for family in FAMILIES} - {"kimi", "dsml", "minimax"}


def test_nothing_to_look_for_is_passed_through() -> None:
    for source, prompt, rendered in (
        (template(GEMMA2), ASK, ""),
        (template(CODER), ASK, ""),
        (template(QWEN), ASK, "<think>\n\n</think>\n\n"),
        (template(QWEN), None, ""),
    ):
        parser = choose_parser(source, prompt, rendered)
        assert isinstance(parser, Plain)
        assert parser.feed("<tool_call>") == [Text("<tool_call>")]
        assert parser.finish() == []


def test_calls_are_read_only_where_tools_are_offered() -> None:
    output = '<tool_call>{"name": "stop", "arguments": {}}</tool_call>'
    none = ChatPrompt(
        messages=ASK.messages, tools=ASK_WITH_TOOLS.tools, tool_choice=ToolChoice(mode="none")
    )
    assert read(template(QWEN), [output], prompt=ASK) == Answer(output)
    assert read(template(QWEN), [output], prompt=none) == Answer(output)
    assert read(
        template(GPT_OSS), ["<|channel|>commentary to=functions.f<|message|>{}"], prompt=ASK
    ) == (Answer("{}"))
    assert read(template(GEMMA), ["<|channel>thought\nhm<channel|>Hi"], prompt=ASK) == Answer(
        "Hi", "hm"
    )


def test_arguments_stream_as_they_come() -> None:
    parser = choose_parser(template(QWEN), ASK_WITH_TOOLS, "")
    parser.feed('<tool_call>{"name": "stop", "arguments": {"a": "b')
    (piece,) = parser.feed("cd e")
    assert piece.arguments == "cd e"
    parser = choose_parser(template(CODER), ASK_WITH_TOOLS, "")
    parser.feed("<tool_call><function=get_weather><parameter=city>\nab")
    (piece,) = parser.feed('c"d')
    assert piece.arguments == 'c\\"d'


def test_ids_are_nine_letters_and_digits() -> None:
    parser = choose_parser(template(LLAMA), ASK_WITH_TOOLS, "")
    (first, *_) = parser.feed('{"name": "stop", "parameters": {}}')
    assert re.fullmatch("[A-Za-z0-9]{9}", first.id)


@pytest.mark.parametrize(
    ("source", "output", "call"),
    [
        (
            "<|tool_calls_section_begin|>",
            "<|tool_calls_section_begin|><|tool_call_begin|>functions.stop:0"
            '<|tool_call_argument_begin|>{"n": 1}<|tool_call_end|><|tool_calls_section_end|>',
            ("stop", '{"n": 1}'),
        ),
        (
            "｜DSML｜",
            '<｜DSML｜function_calls>\n<｜DSML｜invoke name="get_weather">\n'
            '<｜DSML｜parameter name="city" string="true">7</｜DSML｜parameter>\n'
            '<｜DSML｜parameter name="days" string="false">3</｜DSML｜parameter>\n'
            "</｜DSML｜invoke>\n</｜DSML｜function_calls>",
            ("get_weather", '{"city": "7", "days": 3}'),
        ),
        (
            "<minimax:tool_call>",
            '<minimax:tool_call>\n<invoke name="get_weather">\n'
            '<parameter name="days">3</parameter>\n</invoke>\n</minimax:tool_call>',
            ("get_weather", '{"days": 3}'),
        ),
    ],
)
def test_further_families(source: str, output: str, call: tuple[str, str]) -> None:
    assert read(source, [output]) == Answer("", "", (call,), 1)
    assert read(source, output) == Answer("", "", (call,), 1)


@pytest.mark.parametrize(
    ("schema", "text", "expected"),
    [
        ({"type": "string"}, "5", '"5"'),
        ({"type": "integer"}, " 5 ", "5"),
        ({"type": "integer"}, "five", '"five"'),
        ({"type": "boolean"}, "True", "true"),
        ({"type": ["string", "null"]}, "null", "null"),
        ({"type": ["string", "integer"]}, "[1]", '"[1]"'),
        ({"anyOf": [{"type": "number"}, {"$ref": "#/$defs/s"}]}, "1.5", "1.5"),
        ({"$ref": "#/$defs/s"}, "1.5", '"1.5"'),
        ({"enum": ["a", "b"]}, "1", '"1"'),
        ({"const": 3}, "3", "3"),
        ({}, "{'a': 1}", "\"{'a': 1}\""),
        ({}, '{"a": [NaN]}', '"{\\"a\\": [NaN]}"'),
        ({}, '{"a": 1}', '{"a": 1}'),
    ],
)
def test_values_between_tags_get_their_types_from_the_schema(
    schema: dict[str, object], text: str, expected: str
) -> None:
    parameters = {"properties": {"a": schema}, "$defs": {"s": {"type": "string"}}}
    prompt = ChatPrompt(
        messages=(ChatMessage(role="user", content="?"),),
        tools=(Tool(name="f", parameters=parameters),),
    )
    output = f"<tool_call><function=f><parameter=a>\n{text}\n</parameter></function></tool_call>"
    assert read(template(CODER), [output], prompt=prompt).calls == (("f", f'{{"a": {expected}}}'),)
