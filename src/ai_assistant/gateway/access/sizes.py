"""How many tokens a request will take, before anybody has counted them."""

from ai_assistant.protocol.requests import (
    ChatPrompt,
    EmbedRequest,
    GenerateRequest,
    TextPrompt,
    TokenPrompt,
)

_CHARACTERS = 4
"""Of a token, about, in most languages written with letters."""


def expected_tokens(request: GenerateRequest | EmbedRequest) -> int:
    """Tokens of the prompt, about. Costs no more than adding up lengths."""
    if isinstance(request, EmbedRequest):
        return sum(map(_of_text, request.inputs))
    prompt = request.prompt
    if isinstance(prompt, ChatPrompt):
        letters = sum(len(one.content or "") for one in prompt.messages)
        return letters // _CHARACTERS + 1
    return _of_text(prompt)


def _of_text(prompt: TextPrompt | TokenPrompt) -> int:
    if isinstance(prompt, TokenPrompt):
        return len(prompt.tokens)
    return len(prompt.text) // _CHARACTERS + 1
