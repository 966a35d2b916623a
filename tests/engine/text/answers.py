"""Conversations and model outputs as they really look, and what a parser makes of them."""

import itertools
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ai_assistant.engine.text.formats import Reasoning, Text, choose_parser
from ai_assistant.protocol.requests import ChatMessage, ChatPrompt, Tool

WEATHER = Tool(
    name="get_weather",
    description="The weather in a city",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Its name"},
            "days": {"type": "integer"},
            "options": {"type": "object", "properties": {}},
        },
        "required": ["city"],
    },
)
STOP = Tool(name="stop", description="Stops")
ASK = ChatPrompt(messages=(ChatMessage(role="user", content="Hello?"),))
ASK_WITH_TOOLS = ChatPrompt(messages=ASK.messages, tools=(WEATHER, STOP))


@cache
def template(name: str) -> str:
    return (Path(__file__).parent / "templates" / f"{name}.jinja").read_text()


class Answer(NamedTuple):
    text: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    done: int = 0


def read(
    source: str,
    parts: Iterable[str],
    prompt: ChatPrompt | None = ASK_WITH_TOOLS,
    rendered: str = "",
) -> Answer:
    """What the parser for this template makes of the output, joined."""
    parser = choose_parser(source, prompt, rendered)
    pieces = [piece for part in parts for piece in parser.feed(part)] + parser.finish()
    names: list[str] = []
    arguments: list[str] = []
    text = reasoning = ""
    for piece in pieces:
        if isinstance(piece, Text):
            text += piece.text
        elif isinstance(piece, Reasoning):
            reasoning += piece.text
        elif piece.name is not None:
            assert (piece.index, piece.id is not None) == (len(names), True)
            names.append(piece.name)
            arguments.append(piece.arguments)
        else:
            arguments[piece.index] += piece.arguments
    calls = tuple(zip(names, arguments, strict=True))
    return Answer(text, reasoning, calls, parser.calls_done)


def split(text: str, cuts: Sequence[int]) -> list[str]:
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(places)]


class Sample(NamedTuple):
    template: str
    output: str
    answer: Answer
    rendered: str = ""


W = '{"city": "Zürich }{\\" ]", "options": {"a": [1, {"b": "}"}]}}'
QWEN, CODER, LLAMA = "Qwen-Qwen3-0.6B", "Qwen3-Coder", "meta-llama-Llama-3.2-3B-Instruct"
QWEN35, GLM = "Qwen3.5-4B", "GLM-4.6"
NEMO, MINISTRAL = (
    "mistralai-Mistral-Nemo-Instruct-2407",
    "mistralai-Ministral-3-14B-Reasoning-2512",
)
GEMMA, GEMMA2, GPT_OSS = "google-gemma-4-31B-it", "google-gemma-2-2b-it", "openai-gpt-oss-120b"
DEEPSEEK, R1 = "deepseek-ai-DeepSeek-V3.1", "llama-cpp-deepseek-r1"

SAMPLES = [
    # Hermes and Qwen
    Sample(
        QWEN,
        "<think>\nI'm\nthinking\n</think>\n\nHello,  world!\n\tWhat's up?\n",
        Answer("Hello,  world!\n\tWhat's up?\n", "I'm\nthinking"),
    ),
    Sample(
        QWEN,
        "<think>\nhm 🤔\n</think>\n\nLet me see.\n<tool_call>\n"
        f'{{"name": "get_weather", "arguments": {W}}}\n</tool_call>\n'
        '<tool_call>\n{"name": "stop", "arguments": {}}\n</tool_call>',
        Answer("Let me see.", "hm 🤔", (("get_weather", W), ("stop", "{}")), 2),
    ),
    Sample(
        QWEN,
        '<tool_call>[{"arguments": {"n": 1}, "name": "stop", "x": [1]},'
        '{"name": "stop", "arguments": "{\\"n\\": 2}"}]</tool_call> and <tool_call>',
        Answer("and <tool_call>", "", (("stop", '{"n": 1}'), ("stop", '{"n": 2}')), 2),
    ),
    Sample(
        QWEN,
        '<tool_call>{"type": "function", "function": {"name": "stop", "parameters": null}}',
        Answer("", "", (("stop", "{}"),), 1),
    ),
    Sample(
        QWEN,
        '<tool_call>\n{"name": "get_wea',
        Answer('<tool_call>\n{"name": "get_wea'),
    ),
    Sample(
        QWEN,
        '<tool_call>{"name": "get_weather", "arguments": {"city": "Par',
        Answer("", "", (("get_weather", '{"city": "Par'),)),
    ),
    Sample(
        QWEN,
        '<tool_call>oops</tool_call> <tool_call>{"name": 1}\n</tool_call> x < y <think>',
        Answer('<tool_call>oops</tool_call> <tool_call>{"name": 1}\n</tool_call> x < y <think>'),
    ),
    Sample(
        QWEN,
        "it was\n</think>\n\nNow.",
        Answer("Now.", "it was"),
        rendered="<|im_start|>assistant\n<think>\n",
    ),
    Sample(QWEN, "<think>\nnever ends ", Answer("", "never ends")),
    Sample(
        QWEN,
        '<tool_call>{"name": "stop", "arguments": {"a": "line\nbreak"}}</tool_call>',
        Answer("", "", (("stop", '{"a": "line\\nbreak"}'),), 1),
    ),
    # Qwen3-Coder
    Sample(
        CODER,
        "Sure.\n\n<tool_call>\n<function=get_weather>\n<parameter=city>\n"
        'Paris "x"\n  line 2\n</parameter>\n<parameter=days>\n42\n</parameter>\n'
        '<parameter=options>\n{"a": "</p>"}\n</parameter>\n</function>\n</tool_call>\n'
        "<tool_call>\n<function=stop>\n</function>\n</tool_call>",
        Answer(
            "Sure.",
            "",
            (
                (
                    "get_weather",
                    '{"city": "Paris \\"x\\"\\n  line 2", "days": 42, "options": {"a": "</p>"}}',
                ),
                ("stop", "{}"),
            ),
            2,
        ),
    ),
    Sample(
        CODER,
        "<function=get_weather>\n<parameter=city>\n5\n</parameter>\n</function>\n</tool_call>",
        Answer("", "", (("get_weather", '{"city": "5"}'),), 1),
    ),
    Sample(
        CODER,
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nab",
        Answer("", "", (("get_weather", '{"city": "ab'),)),
    ),
    Sample(
        CODER,
        "#include <functional> <function=unknown> <tool_call><function=a b>",
        Answer("#include <functional> <function=unknown> <tool_call><function=a b>"),
    ),
    Sample(
        QWEN35,
        "first\n<tool_call>\n<function=stop>\n</function>\n</tool_call>",
        Answer("", "first", (("stop", "{}"),), 1),
        rendered="<think>\n",
    ),
    # Llama 3
    Sample(
        LLAMA,
        f'{{"name": "get_weather", "parameters": {W}}}',
        Answer("", "", (("get_weather", W),), 1),
    ),
    Sample(LLAMA, '{"name": "Bob", "age": 3}', Answer('{"name": "Bob", "age": 3}')),
    Sample(LLAMA, '{"title": {"name": "stop"}}', Answer('{"title": {"name": "stop"}}')),
    Sample(
        LLAMA,
        '<|python_tag|>{"name": "stop", "parameters": {}}; {"name": "stop", "parameters": {}}',
        Answer("", "", (("stop", "{}"), ("stop", "{}")), 2),
    ),
    Sample(
        LLAMA,
        '<|python_tag|>brave_search.call(query="x")',
        Answer('<|python_tag|>brave_search.call(query="x")'),
    ),
    # Mistral
    Sample(
        NEMO,
        '[TOOL_CALLS][{"name": "stop", "arguments": {"a": "]"}, "id": "abcdefghi"}, '
        '{"name": "stop", "arguments": {}}]',
        Answer("", "", (("stop", '{"a": "]"}'), ("stop", "{}")), 2),
    ),
    Sample(NEMO, "[TOOL_CALLS] [1] nothing", Answer("[TOOL_CALLS] [1] nothing")),
    Sample(
        MINISTRAL,
        '[THINK]I [TOOL_CALLS]stop[ARGS]{"a":1}[/THINK]Hello[TOOL_CALLS]stop[ARGS]{"a": 1}'
        f"[TOOL_CALLS]get_weather[CALL_ID]123456789[ARGS]{W}",
        Answer(
            "Hello",
            'I [TOOL_CALLS]stop[ARGS]{"a":1}',
            (("stop", '{"a": 1}'), ("get_weather", W)),
            2,
        ),
    ),
    Sample(MINISTRAL, "[TOOL_CALLS]stop it{", Answer("[TOOL_CALLS]stop it{")),
    # Gemma 4
    Sample(
        GEMMA,
        "<|channel>thought\nI'm\nthinking<channel|>Hi"
        '<|tool_call>call:get_weather{city:<|"|>Lon "don<|"|>,days:-7,'
        'options:{a:[<|"|>x<|"|>,true,null],<|"|>k e<|"|>:1.5e10}}<tool_call|>'
        "<|tool_call>call:stop{}<tool_call|>",
        Answer(
            "Hi",
            "I'm\nthinking",
            (
                (
                    "get_weather",
                    '{"city": "Lon \\"don", "days": -7, '
                    '"options": {"a": ["x", true, null], "k e": 1.5e10}}',
                ),
                ("stop", "{}"),
            ),
            2,
        ),
    ),
    Sample(
        GEMMA,
        "<|channel><|channel>thought\n<channel|>Hi<|channel>thought\n<channel|><channel|>",
        Answer("Hi"),
    ),
    Sample(
        GEMMA,
        '<|tool_call>call:get_weather{city:<|"|>Ber',
        Answer("", "", (("get_weather", '{"city": "Ber'),)),
    ),
    Sample(GEMMA, "<|tool_call>call me", Answer("<|tool_call>call me")),
    # GPT-OSS
    Sample(
        GPT_OSS,
        "<|channel|>analysis<|message|>I'm\nthinking<|end|><|start|>assistant"
        "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant<|channel|>final"
        "<|message|>Hello\n<|return|>",
        Answer("I look.\n\nHello\n", "I'm\nthinking"),
    ),
    Sample(
        GPT_OSS,
        " to=functions.get_weather<|channel|>analysis <|constrain|>json<|message|>" + W,
        Answer("", "", (("get_weather", W),), 1),
    ),
    Sample(
        GPT_OSS,
        "<|channel|>analysis<|message|>T<|end|><|start|>assistant<|channel|>commentary "
        'to=functions.stop <|constrain|>json<|message|>{"a": "if (b) {"}<|call|>',
        Answer("", "T", (("stop", '{"a": "if (b) {"}'),), 1),
        rendered="<|start|>assistant",
    ),
    Sample(
        GPT_OSS,
        "<|channel|>commentary to=functions.stop<|message|>stop()<|call|>",
        Answer("stop()"),
    ),
    Sample(GPT_OSS, "no channel <| at all", Answer("no channel <| at all")),
    Sample(
        GPT_OSS,
        " world<|return|>",
        Answer(" world"),
        rendered="<|start|>assistant<|channel|>final<|message|>Hello",
    ),
    # DeepSeek
    Sample(
        DEEPSEEK,
        "WHY</think>HERE<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>"
        f"{W}<｜tool▁call▁end｜><｜tool▁call▁begin｜>stop<｜tool▁sep｜>{{}}<｜tool▁call▁end｜>"
        "<｜tool▁calls▁end｜>",
        Answer("HERE", "WHY", (("get_weather", W), ("stop", "{}")), 2),
        rendered="<｜Assistant｜><think>",
    ),
    Sample(
        R1,
        "<think>x</think><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>stop\n"
        "```json\n{}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>"
        f"get_weather\n```json\n{W}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        Answer("", "x", (("stop", "{}"), ("get_weather", W)), 2),
    ),
    Sample(
        DEEPSEEK,
        "<｜tool▁calls▁begin｜>what <｜tool▁call▁begin｜>no",
        Answer("<｜tool▁calls▁begin｜>what <｜tool▁call▁begin｜>no"),
    ),
    # GLM
    Sample(
        GLM,
        "\n<think>hm</think>\n<tool_call>get_weather\n<arg_key>days</arg_key>\n"
        '<arg_value>1</arg_value>\n<arg_key>city</arg_key>\n<arg_value>1 "x"</arg_value>\n'
        "</tool_call>\n<tool_call>stop</tool_call>",
        Answer("", "hm", (("get_weather", '{"days": 1, "city": "1 \\"x\\""}'), ("stop", "{}")), 2),
    ),
    Sample(GLM, "<tool_call>what is this\n", Answer("<tool_call>what is this\n")),
]
