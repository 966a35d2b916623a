"""Conversations: turns of random words with the model's own answers between them."""

from dataclasses import dataclass, field

from benchmarks.client import Answer, talk
from benchmarks.prompts import Prompts
from benchmarks.servers import Server

Message = dict[str, str]
NATURAL = {"ignore_eos": False}
"""An answer that ends by itself is read again as the same tokens."""


@dataclass
class Chat:
    """What was said so far."""

    messages: list[Message] = field(default_factory=list)

    async def turn(self, server: Server, words: str, tokens: int) -> Answer:
        """Say `words`, keep the answer."""
        self.messages.append({"role": "user", "content": words})
        answer = await talk(server, self.messages, tokens, **NATURAL)
        self.messages.append({"role": "assistant", "content": answer.text})
        return answer


async def converse(
    server: Server, prompts: Prompts, *, size: int, tokens: int = 32, words: int = 300
) -> Chat:
    """A chat whose next prompt has about `size` tokens, of turns of `words` words."""
    chat, grown, last = Chat(), 0, 0
    while True:
        fitting = min(words, size - grown - tokens - 24)
        """A question, an answer and the template's marks follow."""
        if fitting < 10:
            return chat
        answer = await chat.turn(server, prompts.words(fitting), tokens)
        grown = sum(answer.usage[kind] for kind in ("prompt_tokens", "completion_tokens"))
        if grown <= last:
            raise ValueError(f"a longer chat has fewer tokens: {grown} after {last}")
        last = grown
