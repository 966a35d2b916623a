"""Weights that do not fit into memory pass through it: read ahead of the layer that is computed,
dropped behind it, round after round.
"""

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import msgspec

from ai_assistant.engine.readahead_order import Division, Span

READERS = 3
CHUNK = 8 << 20
"""Bytes that one reader takes at a time."""
PATIENCE = 60.0
"""Seconds after which a step goes on by page faults: a disk that hangs must not hold it up."""


class Pages(msgspec.Struct, frozen=True):
    """What is done with a part of the file."""

    bring: Callable[[Span], None]
    """Returns when it is in memory; raises `OSError`."""
    drop: Callable[[Span], None]
    """Raises `OSError`."""


class _Round(msgspec.Struct):
    """One layer that is in memory or on its way."""

    layer: int
    missing: int
    """Chunks."""
    bytes: int


class Stream:
    """Reads the streamed parts of layer after layer, as far ahead as the window allows."""

    def __init__(self, division: Division, pages: Pages, readers: int = READERS) -> None:
        self._spans = division.streamed
        self._window = division.window
        self._pages = pages
        self._state = threading.Condition()
        self._rounds: deque[_Round] = deque()
        self._chunks: deque[tuple[_Round, Span]] = deque()
        self._gone: deque[_Round] = deque()
        self._leaving: list[int] = []
        self._next = 0
        self._held = 0
        self._ended = False
        self._threads = [
            threading.Thread(target=self._read, daemon=True, name="weights") for _ in range(readers)
        ]
        for thread in self._threads:
            thread.start()

    # The step's side.

    def reach(self, layer: int) -> None:
        """Return when all of a layer is in memory."""
        with self._state:
            if not self._expected(layer):
                self._state.wait_for(lambda: self._ended or layer not in self._leaving, PATIENCE)
            if not self._expected(layer):
                self._begin_at(layer)
            self._state.wait_for(lambda: self._ended or self._there(layer), PATIENCE)

    def leave(self, layer: int) -> None:
        """A layer is computed: its streamed part, and what a broken step left before it, goes."""
        with self._state:
            if self._expected(layer):
                while self._let_go(self._rounds.popleft()) != layer:
                    pass
                kept = {id(one) for one in self._rounds}
                self._chunks = deque(chunk for chunk in self._chunks if id(chunk[0]) in kept)
                self._state.notify_all()

    def close(self) -> None:
        """End the readers; what is in memory stays."""
        with self._state:
            self._ended = True
            self._state.notify_all()
        for thread in self._threads:
            thread.join()

    def _expected(self, layer: int) -> bool:
        return any(one.layer == layer for one in self._rounds)

    def _there(self, layer: int) -> bool:
        return any(one.layer == layer and not one.missing for one in self._rounds)

    def _begin_at(self, layer: int) -> None:
        """A step that nobody expected begins elsewhere: what was read ahead is of no use."""
        while self._rounds:
            self._let_go(self._rounds.popleft())
        self._chunks.clear()
        self._next = layer
        self._advance(force=True)

    def _let_go(self, one: _Round) -> int:
        """Hand a layer to the readers, who drop it. Held: self._state."""
        self._gone.append(one)
        self._leaving.append(one.layer)
        return one.layer

    # The readers' side.

    def _advance(self, *, force: bool = False) -> None:
        """Put as many layers in the readers' queue as there is room for. Held: self._state.

        A layer that still leaves waits: dropped late, it would take its next round along.
        """
        while not self._ended:
            size = sum(span.bytes for span in self._spans[self._next])
            full = self._held + size > self._window
            if not force and (full or self._next in self._leaving):
                break
            force = False
            pieces = [piece for span in self._spans[self._next] for piece in span.pieces(CHUNK)]
            one = _Round(self._next, len(pieces), size)
            self._held += size
            self._rounds.append(one)
            self._chunks.extend((one, piece) for piece in pieces)
            self._next = (self._next + 1) % len(self._spans)
            if self._next == self._rounds[0].layer:
                break
        self._state.notify_all()

    def _read(self) -> None:
        while True:
            with self._state:
                self._state.wait_for(lambda: self._gone or self._chunks or self._ended)
                if self._ended:
                    return
                gone = self._gone.popleft() if self._gone else None
                taken = None if gone else self._chunks.popleft()
            if gone:
                self._drop(gone)
            elif taken:
                self._bring(*taken)

    def _drop(self, gone: _Round) -> None:
        with suppress(OSError):  # What stays is dropped after its next round.
            for span in self._spans[gone.layer]:
                self._pages.drop(span)
        with self._state:
            self._held -= gone.bytes
            self._leaving.remove(gone.layer)
            self._advance()

    def _bring(self, one: _Round, piece: Span) -> None:
        with suppress(OSError):  # The step brings it in by page faults.
            self._pages.bring(piece)
        with self._state:
            one.missing -= 1
            if not one.missing:
                self._state.notify_all()
