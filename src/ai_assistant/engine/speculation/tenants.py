"""What an engine remembers for each tenant between requests, and for how many tenants."""

from array import array
from collections import OrderedDict

import msgspec

from ai_assistant.engine.speculation.drafter import Drafter
from ai_assistant.engine.speculation.ngrams import ENTRIES, History
from ai_assistant.engine.speculation.policy import Acceptance

TENANTS = 8
"""Tenants that are remembered. With `ENTRIES` it bounds the memory: 60 MB when all are full."""


class Memory(msgspec.Struct, frozen=True):
    """One tenant's."""

    history: History
    acceptance: Acceptance


class Tenants:
    """Past answers by tenant; the tenant that was away longest is forgotten. For one thread.

    Text never crosses tenants. How often guesses are right in general does: a new tenant starts
    from the engine's experience, which is a dozen numbers.
    """

    def __init__(self, *, tenants: int = TENANTS, entries: int = ENTRIES) -> None:
        self._tenants = tenants
        self._entries = entries
        self._everybody = Acceptance()
        self._memories: OrderedDict[str, Memory] = OrderedDict()

    def __len__(self) -> int:
        return len(self._memories)

    @property
    def entries(self) -> int:
        """Known continuations of all tenants."""
        return sum(len(memory.history) for memory in self._memories.values())

    def drafter(self, tenant: str, tokens: "array[int]") -> Drafter:
        """Guesses for a new sequence whose prompt is `tokens`, which it keeps reading."""
        memory = self._memory(tenant)
        return Drafter(tokens, memory.history, memory.acceptance)

    def _memory(self, tenant: str) -> Memory:
        memory = self._memories.get(tenant)
        if memory is None:
            memory = Memory(History(self._entries), Acceptance(self._everybody))
            self._memories[tenant] = memory
            if len(self._memories) > self._tenants:
                self._memories.popitem(last=False)
        self._memories.move_to_end(tenant)
        return memory
