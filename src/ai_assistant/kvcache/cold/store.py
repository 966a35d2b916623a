"""The cold tier of one model: blocks on disk, written and read beside the engine's loop."""

import threading
import time
from array import array
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import msgspec

from ai_assistant.kvcache.blocks import BlockId, State
from ai_assistant.kvcache.cold.chores import Chores
from ai_assistant.kvcache.cold.fetch import Fetch
from ai_assistant.kvcache.cold.home import Home
from ai_assistant.kvcache.cold.index import Index, Pending
from ai_assistant.kvcache.cold.opener import Opener
from ai_assistant.kvcache.cold.reader import Reader
from ai_assistant.kvcache.cold.room import Room
from ai_assistant.kvcache.cold.tokens import TokenCache
from ai_assistant.kvcache.cold.writer import Writer


class ColdStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The store in figures."""

    bytes: int = 0
    """Of this model's files."""
    blocks: int = 0
    """Of this model on disk."""
    queued_bytes: int = 0
    """States that wait to be written."""
    written_today: int = 0
    """Bytes, by all models and processes that use the folder."""
    refused: int = 0
    """Files that were not what they should be, set aside since the start."""
    read_bytes_per_second: float = 0.0
    """Bytes of states while fetching; 0 until something was fetched."""
    write_bytes_per_second: float = 0.0


class ColdStore:
    """Several processes may use the folder, also for one model. Safe to call from any thread.

    Nothing here waits for the disk but `tokens`, which reads a block's first bytes, and what has
    `seconds` in its name or arguments. No failure of the disk raises: it is a miss.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: bytes,
        *,
        budget: int,
        daily: int,
        word: int = 2,
        about: dict[str, str] | None = None,
    ) -> None:
        """Look through the folder in the background: until then there is nothing to be found.

        `fingerprint`, 1 to 32 bytes, names what the states belong to: model, layout, KV type.
        `budget` is for all files in the folder, `daily` for a day's writes, in bytes. `word`: how
        wide the states' numbers are, 2 for f16 and bf16, 4 for f32, 1 for quantised types.
        """
        self._lock = threading.Condition()
        self._index = Index()
        home = Home(folder, fingerprint, about or {})
        self._room = Room(folder, home.path, budget, daily)
        self._chores = Chores(home, self._index, self._room, self._lock)
        self._opener = Opener(home, self._index, self._lock)
        self._tokens = TokenCache()
        self._reader = Reader(self._opener, self._index, self._lock)
        self._writer = Writer(home, self._index, self._room, self._chores, self._lock, word)
        self._writer.start()

    def wait_ready(self, seconds: float) -> bool:
        """Wait until what is on disk is known; also True where nothing can be kept."""
        return self._writer.ready.wait(seconds)

    # What is there.

    def has(self, name: bytes) -> bool:
        """Whether a block is on disk or queued."""
        with self._lock:
            return name in self._index

    def children(self, parent: bytes) -> list[BlockId]:
        """The blocks, on disk or queued, that follow `parent`."""
        with self._lock:
            return self._index.children(parent)

    def tokens(self, block: BlockId) -> "array[int] | None":
        """The tokens of a block, not to be changed; None when it is not there or bad."""
        with self._lock:
            known = self._tokens.get(block.name) if block.name in self._index else None
        if known is not None:
            return known
        tokens = self._opener.tokens(block.name)
        if tokens is not None:
            with self._lock:
                self._tokens.put(block.name, tokens)
        return tokens

    def size(self, name: bytes) -> int:
        """Bytes of the state as it lies on disk; 0 when it does not."""
        with self._lock:
            one = self._index.shelved(name)
            return one.stored if one else 0

    # Keeping and forgetting.

    def put(
        self,
        block: BlockId,
        tokens: "array[int]",
        state: State,
        *,
        replaces: bytes | None = None,
        pinned: bool = False,
    ) -> bool:
        """Queue a block for writing; tokens and state must not change from now on.

        `replaces` names a block that this one makes superfluous: it is deleted when this one is in
        place, unless it is pinned or being fetched. False: not kept, for want of room, of the
        day's share or of a disk that works. Raises `ValueError` when the count of tokens is wrong.
        """
        if len(tokens) != block.count:
            raise ValueError(f"{len(tokens)} tokens for a block of {block.count}")
        with self._lock:
            if block.name in self._index:
                self._renew(block.name, pinned)
                return True
            return self._writer.put(Pending(block, tokens, state, replaces, pinned))

    def touch(self, names: Iterable[bytes]) -> None:
        """They are used now."""
        with self._lock:
            self._chores.touch(names)
            self._lock.notify_all()

    def forget(self, name: bytes) -> None:
        """Delete a block, or do not write it after all."""
        with self._lock:
            self._writer.forget(name)
            self._chores.delete(name)
            self._tokens.drop(name)
            self._lock.notify_all()

    def pin_only(self, names: Collection[bytes]) -> None:
        """Of this model these blocks and no others are pinned from now on."""
        with self._lock:
            for pending in self._index.all_pending():
                pending.pinned = pending.block.name in names
            self._chores.pin_only(frozenset(names))
            self._lock.notify_all()

    def _renew(self, name: bytes, pinned: bool) -> None:
        pending = self._index.pending(name)
        if pending is not None:
            pending.pinned = pending.pinned or pinned
        elif pinned:
            self._chores.pin(name, True)
        self._chores.touch([name])
        self._lock.notify_all()

    # Giving back.

    def fetch(self, names: Sequence[bytes]) -> Fetch:
        """Begin to read these blocks; take them to the end or cancel."""
        return self._reader.fetch(names)

    # The end.

    def hold(self, seconds: float) -> None:
        """Write nothing for so long, if it can wait: tokens are computed. 0 ends that."""
        self._writer.held_until = time.monotonic() + seconds

    def flush(self, seconds: float) -> bool:
        """Wait until nothing is left to be written; False when the time is over before."""
        self.hold(0.0)
        with self._lock:
            return self._lock.wait_for(lambda: self._writer.idle, seconds)

    def close(self, seconds: float) -> None:
        """Finish what is queued within the time, drop the rest, end the threads."""
        end = time.monotonic() + seconds
        self.flush(seconds)
        with self._lock:
            self._writer.stop()
        self._reader.close(max(0.1, end - time.monotonic()))
        self._writer.join(max(0.1, end - time.monotonic()))

    @property
    def crowded(self) -> bool:
        """Whether the queue is half full: puts may soon be refused."""
        with self._lock:
            return self._writer.crowded

    @property
    def status(self) -> ColdStatus:
        """The store as it is now."""
        with self._lock:
            return ColdStatus(
                bytes=self._index.bytes,
                blocks=len(self._index),
                queued_bytes=self._index.pending_bytes,
                written_today=self._room.written_today,
                refused=self._opener.refused,
                read_bytes_per_second=self._reader.speed.value,
                write_bytes_per_second=self._writer.speed.value,
            )

    def check_integrity(self) -> None:
        """Raise `AssertionError` unless the books agree."""
        with self._lock:
            self._index.check_integrity()
