"""What a request needs of whoever answers, told by its own words; no tokenizer is asked."""

from collections.abc import Iterator
from typing import cast

import msgspec

from ai_assistant.protocol.offers import Ability
from ai_assistant.protocol.requests import (
    ChatMessage,
    ChatPrompt,
    GenerateRequest,
    TextPrompt,
    TokenPrompt,
)
from ai_assistant.scheduler.routing.facts import Ask

_PER_MESSAGE = 4
"""Tokens that a template puts around a turn."""
_LETTERS = 4.0
"""Characters of a token in most texts of Latin letters."""
_SIGNS = 1.5
"""The same of Chinese, Japanese, Korean and other scripts."""
_FORMATS: dict[str, Ability] = {
    "json_object": "json",
    "json_schema": "json",
    "lark": "grammar",
    "regex": "grammar",
}
_BLOCK = 1024
"""Characters, or tokens, by which a plain prompt is cut."""


class Mark(msgspec.Struct, frozen=True):
    """A beginning of a prompt: everything before and with one of its parts."""

    digest: int
    tokens: int
    answer: bool = False
    """Its last part is what a model said."""


class Reading(msgspec.Struct, frozen=True):
    """A request, read once for routing."""

    tokens: int
    marks: tuple[Mark, ...]
    """Its beginnings, the shortest first."""
    abilities: frozenset[Ability]
    topic: int = 0
    """The same for all requests of a conversation: its beginning up to the first question."""


def read(request: GenerateRequest) -> Reading:
    """Its length, its needs, and the beginnings by which it is known again."""
    marks: list[Mark] = []
    digest, tokens = hash((request.tenant, request.model)), 0
    topic: int | None = None
    for part, size in _parts(request):
        digest = hash((digest, part))
        tokens += size
        marks.append(Mark(digest, tokens, answer=_role_of(part) == "assistant"))
        if topic is None and _asks(part):
            topic = digest
    return Reading(tokens, tuple(marks), _abilities(request), digest if topic is None else topic)


def ask_of(request: GenerateRequest, reading: Reading, *, usual_answer: int) -> Ask:
    """The request as the decision sees it; `usual_answer`: tokens, where no limit says less."""
    most = request.max_tokens
    return Ask(
        prompt_tokens=reading.tokens,
        answer_tokens=request.n * (usual_answer if most is None else min(most, usual_answer)),
        most_tokens=None if most is None else request.n * most,
        abilities=reading.abilities,
        draw=(reading.topic & 0xFFFFFFFF) / 0x1_0000_0000,
    )


def tokens_of(text: str) -> int:
    """About how many tokens a text has."""
    if text.isascii():
        return int(len(text) / _LETTERS) + 1
    # Of a character beyond Latin, UTF-8 takes three bytes.
    signs = (len(text.encode("utf-8", "replace")) - len(text)) // 2
    return int(signs / _SIGNS + max(len(text) - signs, 0) / _LETTERS) + 1


def _parts(request: GenerateRequest) -> Iterator[tuple[object, int]]:
    prompt = request.prompt
    match prompt:
        case ChatPrompt():
            if prompt.tools:
                text = repr(prompt.tools)
                yield ("tools", text), tokens_of(text)
            for message in prompt.messages:
                yield _message(message)
        case TextPrompt():
            for start in range(0, len(prompt.text), _BLOCK):
                piece = prompt.text[start : start + _BLOCK]
                yield piece, tokens_of(piece)
        case TokenPrompt():
            for start in range(0, len(prompt.tokens), _BLOCK):
                tokens = prompt.tokens[start : start + _BLOCK]
                yield tokens, len(tokens)
    if request.partial:
        text = request.partial.reasoning + request.partial.text
        yield text, request.partial.generated or tokens_of(text)


def _message(message: ChatMessage) -> tuple[object, int]:
    content = message.content or ""
    calls = tuple((call.name, call.arguments) for call in message.tool_calls)
    size = tokens_of(content) + sum(tokens_of(name + said) for name, said in calls)
    return (message.role, content, calls), size + _PER_MESSAGE


def _abilities(request: GenerateRequest) -> frozenset[Ability]:
    prompt = request.prompt
    needed: set[Ability] = {"chat" if isinstance(prompt, ChatPrompt) else "text"}
    if isinstance(prompt, ChatPrompt) and prompt.tools and prompt.tool_choice.mode != "none":
        needed.add("tools")
    if request.format.kind != "text":
        needed.add(_FORMATS[request.format.kind])
    if request.logprobs is not None:
        needed.add("logprobs")
    return frozenset(needed)


def _asks(part: object) -> bool:
    """Whether a part of a prompt is a user's turn, or the beginning of a plain prompt."""
    return _role_of(part) in ("user", "")


def _role_of(part: object) -> str:
    """Who says a part of a chat; empty: it is no chat."""
    first: object = cast("tuple[object, ...]", part)[0] if isinstance(part, tuple) else None
    return first if isinstance(first, str) else ""
