"""The end of an answer: kept back until the figures are there, so that the last piece has them."""

from msgspec import structs

from ai_assistant.protocol.chunks import FinishReason, TokenChunk, Usage
from ai_assistant.protocol.errors import StreamBroken
from ai_assistant.protocol.requests import (
    ChatPrompt,
    EmbedRequest,
    GenerateRequest,
    Prompt,
    TextPrompt,
)

_CHARACTERS_PER_TOKEN = 4
_ABSURD = 1 << 31
"""No request has so many tokens."""


class Closing:
    """Which choices have ended, and why; what the answer took."""

    def __init__(self, provider: str, request: GenerateRequest) -> None:
        self._provider = provider
        self._request = request
        self._ends: dict[int, TokenChunk] = {}
        self.usage: Usage | None = None
        self.tokens = 0
        """Pieces that came, for servers that do not count for us."""

    @property
    def whole(self) -> bool:
        """Every choice has ended."""
        return len(self._ends) == self._request.n

    def end(self, index: int, finish: FinishReason, stop: str | None) -> None:
        """Choice `index` has ended; the first reason counts."""
        if index not in self._ends:
            self._ends[index] = TokenChunk(index=index, finish=finish, stop=stop)

    def close(self) -> list[TokenChunk]:
        """The last piece of every choice; raises `StreamBroken` if one has not ended."""
        if not self.whole:
            raise StreamBroken(f"{self._provider} ended the answer in the middle.")
        usage = (self.usage and believed(self.usage)) or Usage(
            prompt_tokens=estimated_tokens(self._request.prompt),
            completion_tokens=self.tokens,
            estimated=True,
        )
        *others, last = self._ends.values()
        final = TokenChunk(index=last.index, finish=last.finish, stop=last.stop, usage=usage)
        return [*others, final]


def believed(told: Usage) -> Usage | None:
    """What a server says that it counted; None for figures that cannot be: it could say anything,
    and money and limits are reckoned by it."""
    figures = (told.prompt_tokens, told.completion_tokens, told.cached_tokens,
               told.reasoning_tokens)  # fmt: skip
    if not all(0 <= figure < _ABSURD for figure in figures):
        return None
    return structs.replace(told, cached_tokens=min(told.cached_tokens, told.prompt_tokens))


def estimated_tokens(prompt: Prompt) -> int:
    """A guess of a prompt's length from its text."""
    if isinstance(prompt, ChatPrompt):
        texts = [(m.content or "") + "".join(c.arguments for c in m.tool_calls) for m in
                 prompt.messages]  # fmt: skip
        return sum(4 + len(text) // _CHARACTERS_PER_TOKEN for text in texts)
    if isinstance(prompt, TextPrompt):
        return 1 + len(prompt.text) // _CHARACTERS_PER_TOKEN
    return len(prompt.tokens)


def estimated_inputs(request: EmbedRequest) -> int:
    """The same over all inputs of a request for vectors."""
    return sum(map(estimated_tokens, request.inputs))
