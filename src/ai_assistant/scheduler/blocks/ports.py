"""Who gives blocks out and who takes them in, here or at another node."""

from collections.abc import AsyncGenerator
from typing import Protocol, runtime_checkable

from ai_assistant.protocol.blocks import Offered, Part, Weighed


class Blocks(Protocol):
    """The blocks of one source. Refusals are raised as `AssistantError`."""

    @property
    def link(self) -> float:
        """Bytes a second to there, as measured; 0: never."""
        ...

    def give(self, ticket: str) -> AsyncGenerator[Part, None]:
        """What an answer's blocks stand for, then the blocks; nothing where there are none."""
        ...

    async def weigh(self, offered: Offered) -> Weighed:
        """What its engine says to an offer."""
        ...

    async def take(self, part: Part) -> None:
        """Give it the block behind those that it has."""
        ...


@runtime_checkable
class HasBlocks(Protocol):
    """A source of tokens whose KV blocks can be had, or that can use some."""

    def blocks(self, model: str, request_id: str, tenant: str) -> Blocks: ...
