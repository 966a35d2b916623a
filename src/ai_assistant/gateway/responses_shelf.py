"""Responses that may be continued by their id: the newest ones, in memory, until the node ends."""

from collections import OrderedDict
from typing import Any

import msgspec

from ai_assistant.protocol.errors import NotFound
from ai_assistant.protocol.requests import ChatMessage

MAX_RESPONSES = 1024
MAX_BYTES = 64 << 20


class Kept(msgspec.Struct, frozen=True):
    """A response and the conversation up to its end."""

    messages: tuple[ChatMessage, ...]
    response: dict[str, Any]
    size: int


class ResponsesShelf:
    """Bounded by number and bytes; the oldest ones go first. A tenant sees only its own."""

    def __init__(self, *, count: int = MAX_RESPONSES, size: int = MAX_BYTES) -> None:
        self._kept: OrderedDict[tuple[str, str], Kept] = OrderedDict()
        self._count = count
        self._room = size
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, tenant: str, messages: tuple[ChatMessage, ...], response: dict[str, Any]) -> None:
        """Keep it, unless it alone is larger than the whole shelf."""
        size = len(msgspec.json.encode(response)) + len(msgspec.msgpack.encode(messages))
        if size > self._room:
            return
        self._kept[tenant, response["id"]] = Kept(messages, response, size)
        self.bytes += size
        while len(self._kept) > self._count or self.bytes > self._room:
            self.bytes -= self._kept.popitem(last=False)[1].size

    def get(self, tenant: str, response_id: str, param: str | None = None) -> Kept:
        """What is kept under that id; raises `NotFound`."""
        try:
            return self._kept[tenant, response_id]
        except KeyError:
            raise NotFound(
                f"There is no response {response_id!r} here: the newest {self._count} are kept, "
                "until the node restarts, unless store is false. Send the whole conversation as "
                "input instead.",
                param=param,
            ) from None

    def remove(self, tenant: str, response_id: str) -> None:
        """Forget it; raises `NotFound`."""
        self.bytes -= self.get(tenant, response_id).size
        del self._kept[tenant, response_id]
