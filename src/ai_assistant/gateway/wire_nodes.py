"""What nodes say to each other beyond OpenAI's API, in the field `ai_assistant` of a request and of
the choices in its answer: the tokens behind the text, so that another node goes on exactly.

Whoever may ask at all may say it: it does no more than a prompt. The tokens are read as text with
cuts (`protocol/spelling.py`), and the text passes the owner's rules like any other.
"""

from typing import Any

import msgspec
from msgspec import structs

from ai_assistant.gateway.errors import invalid
from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.protocol.requests import (
    ChatMessage,
    ChatPrompt,
    GenerateRequest,
    Partial,
    Prompt,
    TextPrompt,
)
from ai_assistant.protocol.spelling import Spelled, is_sound

_WHERE = "ai_assistant.partial"


class NodePartial(msgspec.Struct):
    """The answer that the prompt ends with."""

    text: int
    """Its length in characters, without reasoning."""
    spelled: Spelled


class NodeFields(msgspec.Struct):
    """What a node asks."""

    spell: bool = False
    partial: NodePartial | None = None


def for_node(request: GenerateRequest, fields: NodeFields | None) -> GenerateRequest:
    """The request with these wishes; raises `InvalidRequest` where they do not fit it."""
    if fields is None:
        return request
    if fields.partial is not None:
        request = _continued(request, fields.partial)
    return structs.replace(request, spell=fields.spell)


def _continued(request: GenerateRequest, given: NodePartial) -> GenerateRequest:
    if given.spelled.start or not is_sound(given.spelled):
        raise invalid(_WHERE, "the cuts do not fit the text")
    prompt, last = _apart(request.prompt, given.text)
    count, limit = len(given.spelled.cuts), request.max_tokens
    return structs.replace(
        request,
        prompt=prompt,
        max_tokens=None if limit is None else limit + count,
        partial=Partial(
            text=last.content or "",
            reasoning=last.reasoning or "",
            generated=count,
            spelled=given.spelled,
        ),
    )


def _apart(prompt: Prompt, length: int) -> tuple[Prompt, ChatMessage]:
    """The prompt without the answer, and the answer."""
    if isinstance(prompt, ChatPrompt) and prompt.messages[-1].role == "assistant":
        *before, last = prompt.messages
        if before and len(last.content or "") == length and not last.tool_calls:
            variables = dict(prompt.template_variables)
            variables.pop("continue_final_message", None)
            rest = structs.replace(prompt, messages=tuple(before), template_variables=variables)
            return rest, last
    if isinstance(prompt, TextPrompt) and 0 <= length < len(prompt.text):
        at = len(prompt.text) - length
        answer = ChatMessage(role="assistant", content=prompt.text[at:])
        return TextPrompt(prompt.text[:at]), answer
    raise invalid(_WHERE, "the prompt does not end with this answer")


def told_to_node(chunk: TokenChunk) -> dict[str, Any]:
    """What a choice of an event holds besides, for a node that asked."""
    fields: dict[str, Any] = {}
    if chunk.spelled is not None:
        fields["spelled"] = chunk.spelled
    if chunk.leaving is not None:
        fields |= {"leaving": True, "ticket": chunk.ticket}
    return {"ai_assistant": fields} if fields else {}
