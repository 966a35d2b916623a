"""Going on in the middle of an answer: what can be continued, and how the request says it."""

import msgspec

from ai_assistant.protocol.errors import CannotContinue
from ai_assistant.protocol.requests import (
    ChatMessage,
    ChatPrompt,
    GenerateRequest,
    Partial,
    TextPrompt,
    TokenPrompt,
)
from ai_assistant.workers.remote.kinds import Continues

_CUT_SPACES: frozenset[Continues] = frozenset({"anthropic", "message", "prefill-message"})
"""Anthropic refuses spaces at the end, and templates such as Llama's cut them off."""


def obstacle(request: GenerateRequest, partial: Partial, style: Continues) -> str | None:
    """Why this answer cannot be continued at such a server; None: it can."""
    if partial.tool_calls:
        return "a function call had begun"
    if request.n > 1:
        return "several answers were asked for"
    if request.format.kind != "text" and not (partial.spelled and style == "template"):
        return "the answer has a fixed format, which would begin anew"
    if isinstance(request.prompt, TextPrompt):
        return None
    if isinstance(request.prompt, TokenPrompt):
        known = len(partial.tokens) == partial.generated
        return None if known else "the tokens so far are not known"
    if style == "no":
        return "this server cannot go on with a message"
    if not partial.text and style != "template":
        return "it broke off while the model was thinking"
    if style in _CUT_SPACES and not partial.text.strip():
        return "there is no text yet to go on with"
    return None


def continued(request: GenerateRequest, style: Continues) -> GenerateRequest:
    """The request with what was said so far as its end; as it is without `partial`.

    Raises `CannotContinue`.
    """
    partial = request.partial
    if partial is None or not (partial.text or partial.reasoning or partial.tool_calls):
        return msgspec.structs.replace(request, partial=None)
    if reason := obstacle(request, partial, style):
        raise CannotContinue(f"The answer cannot be continued: {reason}.")
    limit = request.max_tokens
    return msgspec.structs.replace(
        request,
        prompt=_longer(request.prompt, partial, style),
        max_tokens=None if limit is None else max(1, limit - partial.generated),
    )


def _longer(
    prompt: ChatPrompt | TextPrompt | TokenPrompt, partial: Partial, style: Continues
) -> ChatPrompt | TextPrompt | TokenPrompt:
    if isinstance(prompt, TextPrompt):
        return TextPrompt(prompt.text + partial.text)
    if isinstance(prompt, TokenPrompt):
        return TokenPrompt(prompt.tokens + partial.tokens)
    text = _sent(partial, style)
    last = ChatMessage(role="assistant", content=text, reasoning=partial.reasoning or None)
    variables = prompt.template_variables
    if style == "template":
        variables = {**variables, "continue_final_message": True}
    elif style in ("prefill", "prefill-message"):
        variables = {**variables, "enable_thinking": False}  # it has thought already
    return msgspec.structs.replace(
        prompt, messages=(*prompt.messages, last), template_variables=variables
    )


def _sent(partial: Partial, style: Continues) -> str:
    """The text as it is sent. Where a server or a model's template cuts spaces at its end, it is
    sent without them: then the model writes them again, whatever the template does."""
    return partial.text.rstrip() if style in _CUT_SPACES else partial.text


class Joint:
    """Takes from the beginning of a continuation what the reader has already.

    Some servers repeat the whole beginning; where spaces at its end could not be sent, the model
    writes them again.
    """

    def __init__(self, partial: Partial | None, style: Continues) -> None:
        text = partial.text if partial else ""
        self._known: str = text if style == "prefix-echo" else ""
        self._held: str = ""
        self._spaces = style in _CUT_SPACES and text != text.rstrip()
        self._tail = text[len(text.rstrip()) :]

    @property
    def open(self) -> bool:
        """Something may still have to be taken."""
        return bool(self._known) or self._spaces

    def pass_on(self, text: str) -> str:
        """What is new of the next piece."""
        if self._known:
            text = self._held + text
            if text.startswith(self._known):
                text = text[len(self._known) :]
            elif self._known.startswith(text):
                self._held = text
                return ""
            self._known = self._held = ""
        return self._without_spaces(text) if self._spaces else text

    def rest(self) -> str:
        """What was held back and turned out to be new, at the end."""
        held, self._held, self._known = self._held, "", ""
        return "" if self._spaces else held

    def _without_spaces(self, text: str) -> str:
        text = self._held + text
        fresh = text.lstrip()
        if not fresh:
            self._held = text
            return ""
        self._spaces, self._held = False, ""
        return text[len(self._tail) :] if text.startswith(self._tail) else fresh
