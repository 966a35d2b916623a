"""Which conversation a request belongs to: by the id that the client gives, and by what was asked.

A turn is known by all that was asked up to it. Answers do not count, since clients cut and change
them, and neither does the system's text, in which some put the time of day.
"""

from hashlib import blake2b

import msgspec

from ai_assistant.policy.labels import Facts
from ai_assistant.protocol.requests import ChatPrompt

_ANSWERS = frozenset({"system", "developer", "assistant"})


class Conversation(msgspec.Struct, frozen=True):
    """Keys, which tell nothing of what was said without the salt."""

    name: bytes = b""
    """Of the client's id; empty: it gives none."""
    before: tuple[bytes, ...] = ()
    """Of the turns that this one goes on from."""
    turn: bytes = b""
    """Of this turn; empty: the request is no conversation."""

    @property
    def own(self) -> tuple[bytes, ...]:
        """Under which this turn is remembered."""
        return tuple(key for key in (self.name, self.turn) if key)


def conversation_of(request: msgspec.Struct, facts: Facts, salt: bytes) -> Conversation:
    """Of the same tenant only: what one asks says nothing about another."""
    name = _key(salt, b"name", facts.tenant, facts.conversation) if facts.conversation else b""
    prompt: object = getattr(request, "prompt", None)
    if not isinstance(prompt, ChatPrompt):
        return Conversation(name)
    key, before = _key(salt, b"turns", facts.tenant), list[bytes]()
    last, asked = len(prompt.messages) - 1, False
    for index, message in enumerate(prompt.messages):
        if message.role in _ANSWERS:
            continue
        key, asked = _key(salt, key, message.role, message.content or ""), True
        if index < last:  # What nothing follows is a first try, or the same one again.
            before.append(key)
    return Conversation(name, tuple(before), key if asked else b"")


def _key(salt: bytes, before: bytes, *texts: str) -> bytes:
    data = [text.encode("utf-8", "surrogatepass") for text in texts]
    told = (piece for one in data for piece in (len(one).to_bytes(8, "little"), one))
    return blake2b(b"".join((before, *told)), digest_size=16, key=salt).digest()
