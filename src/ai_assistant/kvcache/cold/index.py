"""What one model has on disk or on its way there, in memory. The owner of the lock calls it."""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator

from msgspec import structs

from ai_assistant.kvcache.blocks import BlockId, State
from ai_assistant.kvcache.cold.shelf import Shelved


class Pending:
    """A block that waits to be written; its arrays are the caller's and do not change."""

    __slots__ = ("block", "pinned", "replaces", "state", "tokens")

    def __init__(
        self,
        block: BlockId,
        tokens: "array[int]",
        state: State,
        replaces: bytes | None,
        pinned: bool,
    ) -> None:
        self.block = block
        self.tokens = tokens
        self.state = state
        self.replaces = replaces
        self.pinned = pinned


class Index:
    """Blocks by name and by parent, and which of them a fetch needs."""

    def __init__(self) -> None:
        self._shelved: dict[bytes, Shelved] = {}
        self._pending: dict[bytes, Pending] = {}
        self._children: dict[bytes, dict[bytes, BlockId]] = {}
        self._fetching: Counter[bytes] = Counter()
        self.bytes = 0
        """Of the files."""
        self.pending_bytes = 0

    def __contains__(self, name: bytes) -> bool:
        return name in self._shelved or name in self._pending

    def __len__(self) -> int:
        return len(self._shelved)

    def shelved(self, name: bytes) -> Shelved | None:
        """The block's file."""
        return self._shelved.get(name)

    def pending(self, name: bytes) -> Pending | None:
        """The block that is not on disk yet."""
        return self._pending.get(name)

    def all_pending(self) -> list[Pending]:
        """The blocks that are not on disk yet."""
        return list(self._pending.values())

    def all_pinned(self) -> list[Shelved]:
        """The files that are pinned."""
        return [one for one in self._shelved.values() if one.pinned]

    def children(self, parent: bytes) -> list[BlockId]:
        """The blocks that follow `parent`."""
        return list(self._children.get(parent, {}).values())

    def chain(self, name: bytes) -> Iterator[bytes]:
        """A block's name and the names of those before it, as far as they are known."""
        seen: set[bytes] = set()
        while name not in seen:
            seen.add(name)
            yield name
            block = self._block(name)
            if block is None:
                return
            name = block.parent

    def expect(self, pending: Pending) -> None:
        """A block will be written."""
        self._pending[pending.block.name] = pending
        self.pending_bytes += pending.state.nbytes
        self._link(pending.block)

    def settle(self, pending: Pending) -> bool:
        """It is written, or never will be; False when it was forgotten meanwhile."""
        name = pending.block.name
        if self._pending.get(name) is not pending:
            return False
        del self._pending[name]
        self.pending_bytes -= pending.state.nbytes
        self._unlink(pending.block)
        return True

    def abandon(self) -> None:
        """Nothing of what waits will be written."""
        for pending in self.all_pending():
            self.settle(pending)

    def add(self, one: Shelved) -> None:
        """A file is there; it takes the place of what was known of it."""
        self.drop(one.block.name)
        self._shelved[one.block.name] = one
        self.bytes += one.size
        self._link(one.block)

    def drop(self, name: bytes) -> Shelved | None:
        """A file is gone, or will be."""
        one = self._shelved.pop(name, None)
        if one is not None:
            self.bytes -= one.size
            self._unlink(one.block)
        return one

    def renew(self, found: Iterable[Shelved]) -> None:
        """These are the files, and no others."""
        gone = set(self._shelved)
        for one in found:
            known = self._shelved.get(one.block.name)
            used = max(one.used, known.used) if known else one.used
            self.add(structs.replace(one, used=used))
            gone.discard(one.block.name)
        for name in gone:
            self.drop(name)

    def touch(self, names: Iterable[bytes], used: float) -> list[Shelved]:
        """They are used now; those that have files."""
        found = [one for name in names if (one := self._shelved.get(name))]
        renewed = [structs.replace(one, used=used) for one in found]
        self._shelved.update((one.block.name, one) for one in renewed)
        return renewed

    def guard(self, names: Iterable[bytes]) -> None:
        """A fetch needs them: they must not go."""
        self._fetching.update(names)

    def unguard(self, names: Iterable[bytes]) -> None:
        """The fetch has them, or needs them no more."""
        for name in names:
            self._fetching[name] -= 1
            if not self._fetching[name]:
                del self._fetching[name]

    def guarded(self, name: bytes) -> bool:
        """Whether a fetch needs it."""
        return name in self._fetching

    def all_guarded(self) -> set[bytes]:
        """What fetches need."""
        return set(self._fetching)

    def _block(self, name: bytes) -> BlockId | None:
        known = self._shelved.get(name) or self._pending.get(name)
        return known.block if known else None

    def _link(self, block: BlockId) -> None:
        self._children.setdefault(block.parent, {})[block.name] = block

    def _unlink(self, block: BlockId) -> None:
        if block.name in self:
            return
        siblings = self._children.get(block.parent, {})
        siblings.pop(block.name, None)
        if not siblings:
            self._children.pop(block.parent, None)

    def check_integrity(self) -> None:
        """Raise `AssertionError` unless every book agrees with every other."""
        known = {name: self._block(name) for name in {*self._shelved, *self._pending}}
        listed = {
            name: (parent, block)
            for parent, blocks in self._children.items()
            for name, block in blocks.items()
        }
        assert known.keys() == listed.keys(), "blocks without a parent or parents without blocks"
        assert all(block.parent == parent for parent, block in listed.values()), "wrong parent"
        assert all(self._children.values()), "a parent without blocks"
        assert self.bytes == sum(one.size for one in self._shelved.values()), "bytes"
        waiting = sum(one.state.nbytes for one in self._pending.values())
        assert self.pending_bytes == waiting, "bytes that wait"
        assert all(count > 0 for count in self._fetching.values()), "a guard without a fetch"
