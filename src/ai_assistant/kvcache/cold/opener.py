"""Reading what the index knows: verified, or set aside and forgotten."""

import logging
import threading
from array import array
from collections.abc import Callable
from io import FileIO
from typing import TypeVar

from ai_assistant.kvcache.blocks import BlockId, State
from ai_assistant.kvcache.cold.format import BadBlock, read_head, read_state
from ai_assistant.kvcache.cold.home import Home
from ai_assistant.kvcache.cold.index import Index
from ai_assistant.kvcache.cold.quarantine import set_aside
from ai_assistant.kvcache.cold.shelf import Shelved

_log = logging.getLogger(__name__)
_Read = TypeVar("_Read")


class Opener:
    """Opens the files of one model, from any thread."""

    def __init__(self, home: Home, index: Index, lock: threading.Condition) -> None:
        self.refused = 0
        """Files that were not what they should be."""
        self._home = home
        self._index = index
        self._lock = lock

    def tokens(self, name: bytes) -> "array[int] | None":
        """The tokens of a block; None when it is not there or bad."""
        with self._lock:
            pending = self._index.pending(name)
        if pending is not None:
            return pending.tokens
        return self._read(name, lambda file, block: read_head(file, self._key, block).tokens)

    def queued(self, name: bytes) -> State | None:
        """The state of a block that is not on disk yet."""
        with self._lock:
            pending = self._index.pending(name)
        return pending.state if pending else None

    def state(self, name: bytes) -> State | None:
        """The state of a block on disk; None when it is not there or bad."""
        return self._read(name, lambda file, block: read_state(file, self._key, block)[1])

    @property
    def _key(self) -> bytes:
        return self._home.fingerprint

    def _read(self, name: bytes, read: Callable[[FileIO, BlockId], _Read]) -> _Read | None:
        one = self._known(name)
        while one is not None:
            try:
                with FileIO(one.path(self._home.folder)) as file:
                    return read(file, one.block)
            except BadBlock as error:
                self._refuse(one, error)
                return None
            except OSError as error:
                one = self._elsewhere(one, error)
        return None

    def _known(self, name: bytes) -> Shelved | None:
        with self._lock:
            return self._index.shelved(name)

    def _elsewhere(self, missed: Shelved, error: OSError) -> Shelved | None:
        """Where it is now if it was renamed meanwhile; else it is forgotten."""
        with self._lock:
            one = self._index.shelved(missed.block.name)
            if one is not None and one.pinned != missed.pinned:
                return one
            self._index.drop(missed.block.name)
        if not isinstance(error, FileNotFoundError):
            _log.warning("a block of the KV cache cannot be read: %s", error)
        return None

    def _refuse(self, one: Shelved, error: BadBlock) -> None:
        path = one.path(self._home.folder)
        _log.warning("a block of the KV cache is set aside: %s (%s)", error, path)
        with self._lock:
            self.refused += 1
            self._index.drop(one.block.name)
        set_aside(self._home.folder, path)
