"""Grammars hold the output, and each family's parser reads what they force."""

import json
import random
from functools import cache

import numpy as np
import pytest
from answers import (
    ASK,
    CODER,
    DEEPSEEK,
    GEMMA,
    GLM,
    GPT_OSS,
    LLAMA,
    MINISTRAL,
    NEMO,
    QWEN,
    QWEN35,
    R1,
    read,
    template,
)

from ai_assistant.engine.text.grammar import Grammar, output_grammar
from ai_assistant.engine.text.mask import TokenMask, Vocabulary
from ai_assistant.protocol.errors import InvalidRequest
from ai_assistant.protocol.requests import ChatPrompt, OutputFormat, Tool, ToolChoice

END = 256
CONTROLS = (
    "<|eos|>", "<think>", "</think>", "<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]",
    "[THINK]", "[/THINK]", "<|tool_call>", "<tool_call|>", "<|channel>", "<channel|>",
    "<|channel|>", "<|message|>", "<|start|>", "<|end|>", "<|constrain|>",
    "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>",
    "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>",
)  # fmt: skip
THOUGHT_ENDS = [256 + CONTROLS.index(name) for name in ("</think>", "[/THINK]", "<channel|>")]
TOKENS = [bytes([byte]) for byte in range(256)] + [name.encode() for name in CONTROLS]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", 'a"b']}, "days": {"type": "integer", "maximum": 9}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOLS = (
    Tool(name="look", parameters={**SCHEMA, "$defs": {}, "not": {}}),
    Tool(name="stop", parameters={"properties": {}, "additionalProperties": False}),
)
OPENED = {
    QWEN: "<|im_start|>assistant\n",
    QWEN35: "<think>\n",
    R1: "<think>\n",
    DEEPSEEK: "<think></think>",
    GPT_OSS: "<|start|>assistant",
}
FAMILIES = (CODER, DEEPSEEK, GEMMA, GLM, GPT_OSS, LLAMA, MINISTRAL, NEMO, QWEN, QWEN35, R1)


@cache
def vocabulary(*, controls: bool = True) -> Vocabulary:
    special = range(END, len(TOKENS)) if controls else [END]
    return Vocabulary(TOKENS, special, [END], list)


def grammar(
    format: OutputFormat,
    prompt: ChatPrompt | None = ASK,
    name: str = CODER,
    *,
    controls: bool = True,
) -> Grammar | None:
    return output_grammar(
        format,
        prompt,
        template_source=template(name),
        rendered=OPENED.get(name, ""),
        specials=vocabulary(controls=controls).specials,
    )


def allowed(mask: TokenMask) -> list[int]:
    logits = np.zeros(len(TOKENS) + 5, dtype=np.float32)
    mask.mask(logits)
    return np.flatnonzero(logits == 0).tolist()


def written(mask: TokenMask, seed: int, *, controls: bool = True) -> str:
    """Any output of the grammar, in printable characters where there is a choice."""
    choose = random.Random(seed)
    output = b""
    while not mask.finished:
        options = allowed(mask)
        if END in options and (len(options) == 1 or choose.random() < 0.5):
            break
        marks = range(END + 1, len(TOKENS)) if controls else THOUGHT_ENDS
        marked = [token for token in marks if token in options]
        plain = [token for token in options if 32 <= token < 127]
        plain = plain or [token for token in options if token != END]
        token = choose.choice(marked if marked and choose.random() < 0.3 else plain)
        mask.accept(token)
        output += TOKENS[token]
        assert len(output) < 20_000
    return output.decode()


def accepts(mask: TokenMask, text: str) -> bool:
    for byte in text.encode():
        if byte not in allowed(mask):
            return False
        mask.accept(byte)
    return mask.finished or END in allowed(mask)


@pytest.mark.parametrize("controls", [True, False])
@pytest.mark.parametrize("several", [True, False])
@pytest.mark.parametrize("name", FAMILIES)
def test_forced_calls_are_calls_to_the_parser(name: str, several: bool, controls: bool) -> None:
    if name == GPT_OSS and not controls:
        pytest.skip("its markers are always control tokens")
    prompt = ChatPrompt(
        messages=ASK.messages,
        tools=TOOLS,
        tool_choice=ToolChoice(mode="required"),
        parallel_tool_calls=several,
    )
    rules = grammar(OutputFormat(), prompt, name, controls=controls)
    assert rules is not None
    start = TokenMask(rules, vocabulary(controls=controls))
    for seed in range(4):
        output = written(start.copy(), seed, controls=controls)
        answer = read(template(name), [output], prompt, OPENED.get(name, ""))
        assert answer.text.strip() == "", output
        assert answer.done == len(answer.calls) >= 1
        assert several or answer.done == 1
        assert all(isinstance(json.loads(text), dict) for _, text in answer.calls)


@pytest.mark.parametrize("name", [LLAMA, QWEN, QWEN35, GPT_OSS, GEMMA])
def test_a_schema_holds_after_any_thoughts(name: str) -> None:
    rules = grammar(OutputFormat(kind="json_schema", schema=SCHEMA), ASK, name)
    assert rules is not None
    for seed in range(6):
        output = written(TokenMask(rules, vocabulary()), seed)
        answer = read(template(name), [output], ASK, OPENED.get(name, ""))
        assert json.loads(answer.text).keys() == {"city", "days"}


def test_an_opened_thought_is_free_until_it_ends() -> None:
    rules = grammar(OutputFormat(kind="json_schema", schema=SCHEMA), ASK, QWEN35)
    assert rules is not None
    mask = TokenMask(rules, vocabulary())
    for byte in b"{ free } ":
        assert set(range(32, 127)) <= set(allowed(mask))
        assert END not in allowed(mask)
        mask.accept(byte)
    mask.accept(END + CONTROLS.index("</think>"))
    assert {token for token in allowed(mask) if token > 32} == {ord("{")}


def test_a_named_function_is_the_one_that_is_called() -> None:
    choice = ToolChoice(mode="required", name="stop")
    rules = grammar(OutputFormat(), ChatPrompt(messages=(), tools=TOOLS, tool_choice=choice))
    assert rules is not None
    assert "stop" in written(TokenMask(rules, vocabulary()), 1)


def test_tools_and_a_schema_leave_the_choice_to_the_model() -> None:
    prompt = ChatPrompt(messages=(), tools=TOOLS)
    rules = grammar(OutputFormat(kind="json_object"), prompt)
    assert rules is not None
    first = allowed(TokenMask(rules, vocabulary()))
    assert first == [ord("{"), END + CONTROLS.index("<tool_call>")]


@pytest.mark.parametrize(
    ("format", "good", "bad"),
    [
        (OutputFormat(kind="json_object"), '{"a": [1, null]}', "[1]"),
        (OutputFormat(kind="json_object"), '{\n  "a": 1\n}', '{\n\n  "a": 1}'),
        (OutputFormat(kind="regex", grammar="a/b[0-9]{2}"), "a/b12", "a/b1x"),
        (OutputFormat(kind="lark", grammar='start: "x" | y\ny: /z+/'), "zz", "xx"),
        (
            OutputFormat(kind="json_schema", schema=SCHEMA),
            '{"city":"Paris","days":3}',
            '{"days":3}',
        ),
    ],
)
def test_formats_allow_what_fits_them(format: OutputFormat, good: str, bad: str) -> None:
    rules = grammar(format, None)
    assert rules is not None
    assert accepts(TokenMask(rules, vocabulary()), good)
    assert not accepts(TokenMask(rules, vocabulary()), bad)


@pytest.mark.parametrize(
    ("format", "words"),
    [
        (OutputFormat(kind="json_schema", schema={"type": "foo"}), "Invalid type: foo"),
        (OutputFormat(kind="json_schema", schema={"not": {}}), 'Unimplemented keys: \\["not"\\]'),
        (OutputFormat(kind="lark", grammar="start: bar"), 'unknown name: "bar"'),
        (OutputFormat(kind="regex", grammar="a(b"), "unclosed group"),
    ],
)
def test_what_cannot_be_held_to_is_refused_in_words(format: OutputFormat, words: str) -> None:
    rules = grammar(format, None)
    assert rules is not None
    with pytest.raises(InvalidRequest, match=words) as error:
        TokenMask(rules, vocabulary())
    assert error.value.param == "response_format"
    assert "|" not in error.value.message


@pytest.mark.parametrize(
    ("prompt", "param"),
    [
        (ChatPrompt(messages=(), tool_choice=ToolChoice(mode="required")), "tool_choice"),
        (
            ChatPrompt(
                messages=(), tools=TOOLS, tool_choice=ToolChoice(mode="required", name="no")
            ),
            "tool_choice",
        ),
    ],
)
def test_a_choice_that_cannot_be_met_is_refused(prompt: ChatPrompt, param: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        grammar(OutputFormat(), prompt)
    assert error.value.param == param


def test_a_token_outside_the_grammar_is_an_error() -> None:
    rules = grammar(OutputFormat(kind="json_object"), None)
    assert rules is not None
    with pytest.raises(InvalidRequest, match="left the grammar"):
        TokenMask(rules, vocabulary()).accept(ord("x"))


def test_free_text_needs_no_grammar() -> None:
    assert grammar(OutputFormat()) is None
    assert grammar(OutputFormat(), ChatPrompt(messages=(), tools=TOOLS)) is None
