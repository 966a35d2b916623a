"""A model that does not fit into memory: a share of every layer stays, the rest passes through."""

import os
from concurrent.futures import ThreadPoolExecutor

from ai_assistant.engine import readahead_advice as advice
from ai_assistant.engine.kernels.gguf import tensor_places
from ai_assistant.engine.kernels.watch import Watch
from ai_assistant.engine.readahead_order import Division, Place, Span, divide, step_order
from ai_assistant.engine.readahead_stream import READERS, Pages, Stream

_PIECE = 32 << 20
"""Bytes of the part that stays, read at once."""


class Beyond:
    """Follows the steps of one model's context. One process, one mapping, no GPU."""

    def __init__(self, path: str, layers: int, budget: int) -> None:
        """`budget`: bytes of weights that may be in memory at once. The file is mapped already."""
        places = [Place(one.name, one.start, one.bytes) for one in tensor_places(path)]
        self.division: Division = divide(step_order(places), budget, advice.PAGE)
        self._handle = os.open(path, os.O_RDONLY)
        self._windows_small = advice.small_windows(path)
        self._address = advice.mapped_at(path)
        if self._address is not None:
            advice.large_pages(self._address, os.fstat(self._handle).st_size)
        self._keep()
        self._stream = Stream(self.division, Pages(self._bring, self._drop))
        self.watch = Watch(layers, self._stream.reach, self._stream.leave)

    def _keep(self) -> None:
        """Bring in what stays, and hold it where we may; else its being used holds it."""
        # What the load left of the rest would push out what stays.
        for spans in self.division.streamed:
            for span in spans:
                self._drop(span)
        kept = [span for spans in self.division.kept for span in spans]
        with ThreadPoolExecutor(READERS) as pool:
            list(pool.map(self._bring, [piece for span in kept for piece in span.pieces(_PIECE)]))
            list(pool.map(self._lock, kept))

    def _lock(self, span: Span) -> None:
        if self._address is not None:
            advice.lock(self._address + span.start, span.bytes)

    def _bring(self, span: Span) -> None:
        if self._windows_small:
            advice.fetch(self._handle, span.start, span.bytes)
        if self._address is None or not advice.map_in(self._address + span.start, span.bytes):
            advice.read_through(self._handle, span.start, span.bytes)

    def _drop(self, span: Span) -> None:
        start = -(-span.start // advice.PAGE) * advice.PAGE
        length = span.end // advice.PAGE * advice.PAGE - start
        if length > 0:
            if self._address is not None:
                advice.map_out(self._address + start, length)
            advice.forget(self._handle, start, length)
