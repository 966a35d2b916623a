"""What the output must look like, as a grammar in llguidance's dialect of Lark."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ai_assistant.engine.text.formats import gemma, harmony
from ai_assistant.engine.text.formats.families import (
    TOOL_CALL,
    detect_family,
    detect_tags,
    thoughts_state,
)
from ai_assistant.engine.text.formats.markup import Tags
from ai_assistant.engine.text.formats.sections import DEEPSEEK, KIMI, Section
from ai_assistant.protocol.errors import InvalidRequest
from ai_assistant.protocol.requests import ChatPrompt, OutputFormat, Tool

# One blank or one line break with its indent: enough for any layout, and no way to write
# white space for ever.
_SPACING = {"whitespace_flexible": True, "whitespace_pattern": r"( |\n[ \t]{0,40})?"}


_ORIGINS = {
    "json_object": "a JSON object",
    "json_schema": "the JSON schema",
    "lark": "the Lark grammar",
    "regex": "the regular expression",
}
_FINAL = f"{harmony.CHANNEL}final{harmony.MESSAGE}"


class Grammar(NamedTuple):
    """A grammar, the field of the request that asked for it, and what it was made from."""

    text: str
    param: str
    origin: str


def output_grammar(
    format: OutputFormat,
    prompt: ChatPrompt | None,
    *,
    template_source: str,
    rendered: str,
    specials: Mapping[str, int],
) -> Grammar | None:
    """The grammar of one answer; None where it may be anything.

    It lets a model think first that can. `specials` are the ids of the vocabulary's control
    tokens. Raises `InvalidRequest` for a choice of tools that cannot be met; whether the
    grammar itself is valid shows when it is compiled.
    """
    tools = _callable(prompt) if prompt else ()
    forced = bool(prompt and tools and prompt.tool_choice.mode == "required")
    if format.kind == "text" and not forced:
        return None
    writer = _Writer(specials)
    family = detect_family(template_source)
    parts: list[str] = []
    if prompt and tools:
        calls = _Calls(writer, family.name, template_source)
        parts.append(calls.write(tools, several=prompt.parallel_tool_calls))
    if not forced:
        body = _body(writer, format)
        in_channel = prompt and family.name == "harmony" and not _in_message(rendered)
        parts.append(f"{writer.spell(_FINAL)} {body}" if in_channel else body)
    answer = f"({' | '.join(parts)})"
    if prompt:
        answer = _with_thoughts(writer, answer, prompt, template_source, rendered)
    if forced:
        return Grammar(writer.finish(answer), "tools", "a tool's parameters")
    return Grammar(writer.finish(answer), "response_format", _ORIGINS[format.kind])


def _callable(prompt: ChatPrompt) -> Sequence[Tool]:
    """The functions that the answer may call."""
    choice = prompt.tool_choice
    if choice.mode == "none":
        return ()
    if choice.name is not None:
        named = [tool for tool in prompt.tools if tool.name == choice.name]
        if not named:
            raise InvalidRequest(
                f"tool_choice names the function {choice.name!r}, which is not among the tools.",
                param="tool_choice",
            )
        return named
    if choice.mode == "required" and not prompt.tools:
        raise InvalidRequest(
            "tool_choice is 'required', but the request has no tools.", param="tool_choice"
        )
    return prompt.tools


def _body(writer: "_Writer", format: OutputFormat) -> str:
    if format.kind == "json_object":
        return writer.json({"type": "object"})
    if format.kind == "json_schema":
        if format.schema is None:
            raise InvalidRequest("response_format has no schema.", param="response_format")
        return writer.json(format.schema)
    if not format.grammar:
        raise InvalidRequest("response_format has no grammar.", param="response_format")
    if format.kind == "regex":
        return writer.grammar(f"start: /{_between_slashes(format.grammar)}/")
    return writer.grammar(format.grammar)


def _between_slashes(regex: str) -> str:
    return re.sub(r"(\\.)|/", lambda found: found.group(1) or r"\/", regex).replace("\n", r"\n")


def _with_thoughts(
    writer: "_Writer",
    answer: str,
    prompt: ChatPrompt,
    template_source: str,
    rendered: str,
) -> str:
    family = detect_family(template_source)
    if family.name == "harmony":
        return _with_analysis(writer, answer, rendered)
    tags = detect_tags(template_source)
    if family.name == "gemma":
        tags = Tags(f"{gemma.CHANNEL}thought\n", gemma.CHANNEL_END)
    state = thoughts_state(tags, prompt, rendered)
    if tags is None or state == "over":
        return answer
    thoughts = writer.until(tags.close)
    if state == "none":
        thoughts = f"({writer.spell(tags.open)} {thoughts} {writer.blank()})?"
    else:
        thoughts += f" {writer.blank()}"
    return f"{thoughts} {answer}"


def _in_message(rendered: str) -> bool:
    return rendered.rfind(harmony.MESSAGE) > rendered.rfind(harmony.ASSISTANT)


def _with_analysis(writer: "_Writer", answer: str, rendered: str) -> str:
    if _in_message(rendered):
        return answer
    opening = writer.spell(f"{harmony.CHANNEL}analysis{harmony.MESSAGE}")
    end = writer.until(harmony.END)
    return f"({opening} {end} {writer.spell(harmony.ASSISTANT)})? {answer}"


class _Writer:
    """Collects the rules of a grammar."""

    def __init__(self, specials: Mapping[str, int]) -> None:
        self._specials = specials
        names = sorted(specials, key=len, reverse=True)
        self._split = re.compile("|".join(map(re.escape, filter(None, names))) or "(?!)")
        self._rules: list[str] = []
        self._grammars: list[dict[str, str]] = []

    def finish(self, start: str) -> str:
        """The whole grammar."""
        top = {"lark_grammar": "\n".join((f"start: {start}", *self._rules))}
        return json.dumps({"grammars": [top, *self._grammars]})

    def spell(self, text: str) -> str:
        """A literal text, its control tokens as tokens."""
        parts: list[str] = []
        at = 0
        for found in self._split.finditer(text):
            parts += [_quoted(text[at : found.start()])] if found.start() > at else []
            parts.append(f"<[{self._specials[found.group()]}]>")
            at = found.end()
        parts += [_quoted(text[at:])] if at < len(text) else []
        return " ".join(parts)

    def until(self, marker: str) -> str:
        """Any text, and the marker that ends it."""
        if marker in self._specials:
            anything = self._rule("ANY", r"/(.|\n)*/")
            return f"{anything} {self.spell(marker)}"
        ending = re.sub(r"([\\/.\[\](){}|*+?^$-])", r"\\\1", marker)
        return self._rule("ending[lazy]", rf"/(.|\n)*{ending}/")

    def blank(self) -> str:
        """White space that a model puts after its thoughts."""
        return self._rule("BLANK", r"/[ \n]{0,4}/")

    def json(self, schema: Mapping[str, Any], *, lenient: bool = False) -> str:
        """JSON that fits a schema."""
        options = {**_SPACING, "lenient": lenient}
        text = json.dumps({**schema, "x-guidance": options}, ensure_ascii=False)
        return self._rule("json", f"%json {text}")

    def grammar(self, text: str) -> str:
        """Somebody else's grammar, under its own names."""
        name = f"grammar_{len(self._grammars)}"
        self._grammars.append({"name": name, "lark_grammar": text})
        return f"@{name}"

    def _rule(self, name: str, body: str) -> str:
        stem, bracket, option = name.partition("[")
        unique = f"{stem}_{len(self._rules)}"
        self._rules.append(f"{unique}{bracket}{option}: {body}")
        return unique


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


class _Calls:
    """Calls in the way that a family writes them, or in one that its parser reads as well."""

    def __init__(self, writer: _Writer, family: str, source: str) -> None:
        self._writer = writer
        self._source = source
        self._layout: Callable[[list[tuple[str, str]], bool], str] = {
            "harmony": self._harmony,
            "gemma": self._gemma,
            "mistral": self._mistral if "[ARGS]" in source else self._mistral_list,
            "kimi": self._kimi,
            "deepseek": self._deepseek,
            "llama": self._llama,
        }.get(family, self._hermes)

    def write(self, tools: Sequence[Tool], *, several: bool) -> str:
        """One call or, with `several`, one or more."""
        return self._layout([(tool.name, self._arguments(tool)) for tool in tools], several)

    def _arguments(self, tool: Tool) -> str:
        schema = {"type": "object", **(tool.parameters or {})}
        return self._writer.json(schema, lenient=not tool.strict)

    def _each(self, tools: list[tuple[str, str]], before: str, after: str = "") -> str:
        """Any of the functions: `before` with its name, its arguments, `after`."""
        spell = self._writer.spell
        calls = [
            " ".join((spell(before.replace("NAME", name)), arguments, spell(after)))
            for name, arguments in tools
        ]
        return f"({' | '.join(calls)})"

    def _each_json(
        self, tools: list[tuple[str, str]], key: str, before: str = "", after: str = ""
    ) -> str:
        named = [(json.dumps(name, ensure_ascii=False)[1:-1], rule) for name, rule in tools]
        return self._each(named, f'{before}{{"name": "NAME", "{key}": ', "}" + after)

    def _hermes(self, tools: list[tuple[str, str]], several: bool) -> str:
        call = self._each_json(tools, "arguments", f"{TOOL_CALL}\n", "\n</tool_call>")
        return f'{call} ("\\n" {call})*' if several else call

    def _llama(self, tools: list[tuple[str, str]], several: bool) -> str:
        return self._each_json(tools, "parameters")

    def _mistral(self, tools: list[tuple[str, str]], several: bool) -> str:
        call = self._each(tools, "[TOOL_CALLS]NAME[ARGS]")
        return f"{call}+" if several else call

    def _mistral_list(self, tools: list[tuple[str, str]], several: bool) -> str:
        call = self._each_json(tools, "arguments")
        more = f'(", " {call})*' if several else ""
        return f'{self._writer.spell("[TOOL_CALLS][")} {call} {more} "]"'

    def _gemma(self, tools: list[tuple[str, str]], several: bool) -> str:
        call = self._each(tools, f"{gemma.CALL}call:NAME", gemma.CALL_END)
        return f"{call}+" if several else call

    def _harmony(self, tools: list[tuple[str, str]], several: bool) -> str:
        head = f"{harmony.CHANNEL}commentary to=functions.NAME {harmony.CONSTRAIN}json"
        return self._each(tools, head + harmony.MESSAGE)

    def _kimi(self, tools: list[tuple[str, str]], several: bool) -> str:
        head = f"{KIMI.call_begin}functions.NAME:0{KIMI.separator}"
        return self._section(KIMI, self._each(tools, head, KIMI.call_end), several)

    def _deepseek(self, tools: list[tuple[str, str]], several: bool) -> str:
        head, tail = f"{DEEPSEEK.call_begin}NAME{DEEPSEEK.separator}", DEEPSEEK.call_end
        if "```json" in self._source:
            head = f"{DEEPSEEK.call_begin}function{DEEPSEEK.separator}NAME\n```json\n"
            tail = f"\n```{DEEPSEEK.call_end}"
        return self._section(DEEPSEEK, self._each(tools, head, tail), several)

    def _section(self, tokens: Section, call: str, several: bool) -> str:
        calls = f'{call} ("\\n"? {call})*' if several else call
        return f"{self._writer.spell(tokens.begin)} {calls} {self._writer.spell(tokens.end)}"
