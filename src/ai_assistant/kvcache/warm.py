"""The warm tier: blocks of ended sequences in RAM, out of the context, where every cell slows every
decode. What sequences have in common is held once.
"""

from collections import OrderedDict
from collections.abc import Iterable

from ai_assistant.kvcache.blocks import Block


class WarmStore:
    """Blocks up to `budget` bytes; the least recently used end of a chain goes first: a block
    without those before it is worth nothing.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._blocks: OrderedDict[bytes, Block] = OrderedDict()
        self._children: dict[bytes, dict[bytes, Block]] = {}
        self.pinned: set[bytes] = set()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._blocks)

    def get(self, name: bytes) -> Block | None:
        """The block of that name."""
        return self._blocks.get(name)

    def children(self, parent: bytes) -> list[Block]:
        """The blocks that follow `parent`."""
        return list(self._children.get(parent, {}).values())

    def put(self, block: Block, *, pinned: bool = False) -> bool:
        """Keep a block, a pinned one for ever; False when that would cost the blocks before it."""
        if pinned:
            self.pinned.add(block.id.name)
        if block.state.nbytes > self._budget:
            return False
        if block.id.name in self._blocks:
            self._blocks.move_to_end(block.id.name)
            return True
        while self.bytes + block.state.nbytes > self._budget:
            victim = self._victim(block.id.parent)
            if victim is None:
                return False
            self.drop(victim)
        self._blocks[block.id.name] = block
        self._children.setdefault(block.id.parent, {})[block.id.name] = block
        self.bytes += block.state.nbytes
        return True

    def resize(self, budget: int) -> None:
        """Have room for so many bytes from now on; pinned blocks stay, whatever they take."""
        while self.bytes > budget and (victim := self._victim(b"")) is not None:
            self.drop(victim)
        self._budget = max(budget, self.bytes)

    def _victim(self, spared: bytes) -> bytes | None:
        """The end of a chain that was used least recently, but not that of the spared one."""
        for name in self._blocks:
            if name not in self._children and name not in self.pinned and name != spared:
                return name
        return None

    def touch(self, chain: Iterable[bytes]) -> None:
        """These were used; `chain` in the order of their tokens."""
        for name in reversed(list(chain)):
            if name in self._blocks:
                self._blocks.move_to_end(name)

    def drop(self, name: bytes) -> None:
        """Forget a block, if it is there."""
        block = self._blocks.pop(name, None)
        if block is None:
            return
        self.bytes -= block.state.nbytes
        siblings = self._children[block.id.parent]
        del siblings[name]
        if not siblings:
            del self._children[block.id.parent]

    def check_integrity(self) -> None:
        """Raise `AssertionError` unless the books agree and the budget is kept."""
        assert self.bytes == sum(block.state.nbytes for block in self._blocks.values()), "bytes"
        assert self.bytes <= self._budget, "over the budget"
        known = {name for children in self._children.values() for name in children}
        assert known == set(self._blocks), "children"
