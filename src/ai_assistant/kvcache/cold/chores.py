"""Small things to do on the disk when there is time: ages, pins, deletions."""

import contextlib
import os
import threading
import time
from collections.abc import Collection, Iterable

from msgspec import structs

from ai_assistant.kvcache.cold.home import Home
from ai_assistant.kvcache.cold.index import Index
from ai_assistant.kvcache.cold.room import Room
from ai_assistant.kvcache.cold.shelf import Shelved


class Chores:
    """Noted under the lock by any thread, done by the writer. Files that are gone are skipped."""

    def __init__(self, home: Home, index: Index, room: Room, lock: threading.Condition) -> None:
        self._home = home
        self._index = index
        self._room = room
        self._lock = lock
        self._touched: dict[bytes, float] = {}
        self._doomed: list[Shelved] = []
        self._pins: dict[bytes, bool] = {}
        self._only_pins: Collection[bytes] | None = None

    def __bool__(self) -> bool:
        return bool(self._touched or self._doomed or self._pins or self._only_pins is not None)

    def touch(self, names: Iterable[bytes]) -> None:
        """They are used now."""
        now = time.time()
        self._touched.update((one.block.name, now) for one in self._index.touch(names, now))

    def delete(self, name: bytes) -> None:
        """A block's file is not wanted."""
        if (one := self._index.drop(name)) is not None:
            self._doomed.append(one)

    def pin(self, name: bytes, pinned: bool) -> None:
        """A block never goes by itself, or does again."""
        self._pins[name] = pinned

    def pin_only(self, names: Collection[bytes]) -> None:
        """These and no others are pinned."""
        self._only_pins = names

    def run(self) -> None:
        """Do all that was noted."""
        with self._lock:
            doomed, self._doomed = self._doomed, []
            touched, self._touched = self._touched, {}
            repinned = self._repinned()
        for one in doomed:
            self.remove(one)
        for one, pinned in repinned:
            self._rename(one, pinned)
        for name, used in touched.items():
            self._set_age(name, used)

    def remove(self, one: Shelved) -> None:
        """Delete a file of any model."""
        with contextlib.suppress(OSError):
            one.path(self._home.folder).unlink()
        self._room.freed(one.size)

    def _repinned(self) -> list[tuple[Shelved, bool]]:
        """The files whose pin changes."""
        wanted, self._pins = self._pins, {}
        only, self._only_pins = self._only_pins, None
        if only is not None:
            wanted.update((one.block.name, False) for one in self._index.all_pinned())
            wanted.update((name, True) for name in only)
        found = ((self._index.shelved(name), pinned) for name, pinned in wanted.items())
        return [(one, pinned) for one, pinned in found if one and one.pinned != pinned]

    def _rename(self, one: Shelved, pinned: bool) -> None:
        renamed = structs.replace(one, pinned=pinned)
        with self._lock, contextlib.suppress(OSError):
            one.path(self._home.folder).replace(renamed.path(self._home.folder))
            if self._index.shelved(one.block.name) is not None:
                self._index.add(renamed)

    def _set_age(self, name: bytes, used: float) -> None:
        with self._lock:
            one = self._index.shelved(name)
        if one is not None:
            with contextlib.suppress(OSError):
                os.utime(one.path(self._home.folder), (used, used))
