"""Finding room for a block on disk, and putting it there."""

import threading
import time

from ai_assistant.kvcache.blocks import BlockId
from ai_assistant.kvcache.cold.chores import Chores
from ai_assistant.kvcache.cold.codec import Packed
from ai_assistant.kvcache.cold.eviction import victims
from ai_assistant.kvcache.cold.files import Draft
from ai_assistant.kvcache.cold.format import overhead, pack_file
from ai_assistant.kvcache.cold.home import Home
from ai_assistant.kvcache.cold.index import Index, Pending
from ai_assistant.kvcache.cold.room import Room
from ai_assistant.kvcache.cold.shelf import Shelved


class Half:
    """A block whose bytes are on their way to the disk."""

    __slots__ = ("draft", "pending", "seconds", "shelved")

    def __init__(self, pending: Pending, shelved: Shelved, draft: Draft) -> None:
        self.pending = pending
        self.shelved = shelved
        self.draft = draft
        self.seconds = 0.0
        """Of work so far."""


class Placer:
    """Used by the writer's thread alone; `OSError` passes through."""

    def __init__(
        self, home: Home, index: Index, room: Room, chores: Chores, lock: threading.Condition
    ) -> None:
        self._home = home
        self._index = index
        self._room = room
        self._chores = chores
        self._lock = lock

    def survey(self) -> list[Shelved]:
        """Look at every file of the folder; other processes change it too."""
        found = self._room.survey()
        own = [one for one in found if one.fingerprint == self._home.path.name]
        with self._lock:
            self._index.renew(own)
        return found

    def start(self, pending: Pending, packed: Packed) -> Half | None:
        """Write a block without waiting for the disk; None where it may not be written."""
        if self._room.stale:
            self.survey()
        block = pending.block
        size = overhead(block) + packed.stored
        if not self._wanted(pending) or not self._room.allows_today(size):
            return None
        if not self._made_room(size, block):
            return None
        shelved = Shelved(self._home.path.name, block, size, time.time(), pending.pinned)
        pieces = pack_file(self._home.fingerprint, block, pending.tokens, packed)
        return Half(pending, shelved, self._home.draft(shelved, pieces))

    def finish(self, half: Half) -> None:
        """Wait for the disk, put the block in its place, and delete what it replaces."""
        half.draft.keep()
        with self._lock:
            self._index.add(half.shelved)
            self._book(half.pending, half.shelved)
        self._room.wrote(half.shelved.size)

    def _book(self, pending: Pending, shelved: Shelved) -> None:
        name = pending.block.name
        if not self._index.settle(pending):
            self._chores.delete(name)
            return
        if pending.pinned != shelved.pinned:
            self._chores.pin(name, pending.pinned)
        old = self._index.shelved(pending.replaces) if pending.replaces else None
        if old and not old.pinned and not self._index.guarded(old.block.name):
            self._chores.delete(old.block.name)

    def _wanted(self, pending: Pending) -> bool:
        """Not forgotten meanwhile, not written by another process."""
        name = pending.block.name
        with self._lock:
            return self._index.pending(name) is pending and self._index.shelved(name) is None

    def _made_room(self, size: int, block: BlockId) -> bool:
        if not self._room.missing(size):
            return True
        if size > self._room.budget:
            return False
        found = self.survey()
        with self._lock:
            kept = {*self._index.all_guarded(), *self._index.chain(block.parent)}
        chosen = victims(found, self._room.generous(size), kept)
        if sum(one.size for one in chosen) < self._room.missing(size):
            return False
        for one in chosen:
            self._evict(one)
        return True

    def _evict(self, one: Shelved) -> None:
        if one.fingerprint == self._home.path.name:
            with self._lock:
                self._index.drop(one.block.name)
        self._chores.remove(one)
