"""Which format a model writes: found in its chat template's text."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, NamedTuple

from ai_assistant.engine.text.formats import gemma, harmony
from ai_assistant.engine.text.formats.json_calls import bare_call, mistral_call, python_tag_call
from ai_assistant.engine.text.formats.markup import CallReader, MarkupParser, Tags
from ai_assistant.engine.text.formats.pieces import OutputParser, Plain
from ai_assistant.engine.text.formats.sections import DEEPSEEK, KIMI, section_calls
from ai_assistant.engine.text.formats.xml_calls import function_call, invoke_calls, tool_call
from ai_assistant.protocol.requests import ChatPrompt

TOOL_CALL = "<tool_call>"
_DSML = "｜DSML｜"
_TAGS = (
    Tags("<think>", "</think>"),
    Tags("[THINK]", "[/THINK]"),
    Tags("<seed:think>", "</seed:think>"),
    Tags("<|START_THINKING|>", "<|END_THINKING|>"),
)


class Family(NamedTuple):
    """One format. `sign` is text that its templates have and others do not."""

    name: str
    sign: str
    starts: Mapping[str, CallReader] = {}
    """What begins a call, and who reads on from there; Hermes' way is always understood."""
    inner: frozenset[str] = frozenset()
    """Further markers within a call."""
    bare: CallReader | None = None
    """Reads calls that nothing begins."""
    always: Mapping[str, CallReader] = {}
    """Markers that count without tools, too."""
    calls_end_thoughts: bool = False


_HERMES_FAMILY = Family("hermes", TOOL_CALL)
FAMILIES = (
    Family("harmony", harmony.CHANNEL),
    Family(
        "gemma",
        gemma.CALL,
        starts={gemma.CALL: gemma.call},
        inner=gemma.MARKERS,
        always={gemma.CHANNEL: gemma.channel, gemma.CHANNEL_END: gemma.stray_end},
    ),
    Family(
        "mistral",
        "[TOOL_CALLS]",
        starts={"[TOOL_CALLS]": mistral_call},
        inner=frozenset(("[ARGS]", "[CALL_ID]")),
    ),
    Family(
        "kimi",
        KIMI.begin,
        starts=dict.fromkeys((KIMI.begin, KIMI.call_begin), section_calls(KIMI)),
        inner=frozenset(KIMI),
    ),
    Family(
        "dsml",
        _DSML,
        starts={
            f"<{_DSML}{section}>": invoke_calls(_DSML, (f"</{_DSML}{section}>",))
            for section in ("function_calls", "tool_calls")
        },
        inner=frozenset((_DSML,)),
    ),
    Family(
        "deepseek",
        DEEPSEEK.call_begin,
        starts=dict.fromkeys((DEEPSEEK.begin, DEEPSEEK.call_begin), section_calls(DEEPSEEK)),
        inner=frozenset(DEEPSEEK),
    ),
    Family(
        "minimax",
        "<minimax:tool_call>",
        starts={"<minimax:tool_call>": invoke_calls("", ("</minimax:tool_call>",))},
        inner=frozenset(("</minimax:tool_call>",)),
    ),
    Family(
        "glm",
        "<arg_key>",
        inner=frozenset(("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")),
    ),
    Family("qwen-xml", "<function=", starts={"<function=": function_call}, calls_end_thoughts=True),
    _HERMES_FAMILY,
    Family(
        "llama",
        "<|start_header_id|>",
        starts={"<|python_tag|>": python_tag_call, "<function=": function_call},
        bare=bare_call,
    ),
)


@lru_cache(maxsize=16)
def detect_family(template_source: str) -> Family:
    """The family of the model with this template; Hermes where nothing is recognised."""
    found = (family for family in FAMILIES if family.sign in template_source)
    return next(found, _HERMES_FAMILY)


@lru_cache(maxsize=16)
def detect_tags(template_source: str) -> Tags | None:
    """What stands around this model's reasoning."""
    found = (tags for tags in _TAGS if tags.close in template_source)
    return next(found, None)


def wants_tools(prompt: ChatPrompt) -> bool:
    """Whether calls may come."""
    return bool(prompt.tools) and prompt.tool_choice.mode != "none"


def choose_parser(template_source: str, prompt: ChatPrompt | None, rendered: str) -> OutputParser:
    """The parser of one answer.

    `rendered` is the prompt's text: where it ends within reasoning, the output begins there.
    No prompt means raw text, which is never parsed.
    """
    if prompt is None:
        return Plain()
    family = detect_family(template_source)
    tools = wants_tools(prompt)
    schemas = {tool.name: tool.parameters or {} for tool in prompt.tools} if tools else {}
    if family.name == "harmony":
        opened = rendered[max(rendered.rfind(harmony.ASSISTANT), 0) :]
        return harmony.HarmonyParser(schemas, tools=tools, opened=opened)
    tags = detect_tags(template_source)
    state = thoughts_state(tags, prompt, rendered)
    starts = dict(family.always)
    if tools:
        starts |= {TOOL_CALL: tool_call, **family.starts}
    if not starts and (tags is None or state == "over"):
        return Plain()
    return MarkupParser(
        tags=None if state == "over" else tags,
        starts=starts,
        markers=_markers(tags, starts, family, tools=tools),
        schemas=schemas,
        thinking=state in ("opened", "begun"),
        thoughts_begun=state == "begun",
        calls_end_thoughts=tools and family.calls_end_thoughts,
        bare=family.bare if tools else None,
    )


def thoughts_state(
    tags: Tags | None, prompt: ChatPrompt, rendered: str
) -> Literal["none", "opened", "begun", "over"]:
    """What the prompt's end says of the reasoning: nothing, just opened, begun, or done with."""
    if tags is None:
        return "none"
    end = rendered[-64:].rstrip()
    if end.endswith(tags.open):
        return "opened"
    if end.endswith(tags.close):
        return "over"
    last = prompt.messages[-1] if prompt.messages else None
    continued = prompt.template_variables.get("continue_final_message") is True
    if continued and last and last.role == "assistant" and last.reasoning and not last.content:
        return "begun"
    return "none"


def _markers(
    tags: Tags | None, starts: Mapping[str, CallReader], family: Family, *, tools: bool
) -> frozenset[str]:
    inner = family.inner | {"</tool_call>"} if tools else frozenset[str]()
    return frozenset(starts) | inner | frozenset(tags or ())
