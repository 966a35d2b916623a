"""How a state is packed: the high bytes of floating-point numbers shrink, all else is noise.

Measured by `python -m benchmarks.kv_codec`: sign and exponent are one byte in two of f16 and bf16,
and zstd takes that plane to two thirds or less. Nothing is gained from the low plane or from
quantised types, and nothing at all by lz4.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
import zstandard

from ai_assistant.kvcache.blocks import State

RAW, PLANES = 0, 1
WORTH = 1.1
"""Less gain than this does not pay for the work of unpacking."""


class Packed(msgspec.Struct, frozen=True):
    """What goes to disk, in pieces that follow each other."""

    codec: int
    word: int
    raw: int
    """Bytes of the state."""
    pieces: Sequence[memoryview]

    @property
    def stored(self) -> int:
        """Bytes on disk."""
        return sum(len(piece) for piece in self.pieces)


def pack(state: State, word: int) -> Packed:
    """The state as it is stored; numbers are `word` bytes wide, 1 where it does not help."""
    size = state.nbytes
    if word > 1 and size >= word:
        low, high, rest = _split(state, word)
        shrunk = zstandard.ZstdCompressor(level=1).compress(high.data)
        if size >= WORTH * (size - high.nbytes + len(shrunk)):
            return Packed(PLANES, word, size, (low.data, rest.data, memoryview(shrunk)))
    return Packed(RAW, 1, size, (state.data,))


def unpack(codec: int, word: int, raw: int, payload: State) -> State:
    """The state of `raw` bytes; raises `ValueError` where the payload cannot be one."""
    if codec == RAW and payload.nbytes == raw:
        return payload
    if codec != PLANES or word < 2:
        raise ValueError(f"codec {codec} with words of {word} is unknown")
    count = raw // word
    plain = raw - count
    if payload.nbytes <= plain:
        raise ValueError("the planes are cut off")
    high = _expanded(payload[plain:], count)
    return _joined(payload[:plain], high, raw, word)


def _split(state: State, word: int) -> tuple[State, State, State]:
    """The low bytes of all words, their high bytes, and what follows the last word."""
    whole = state.nbytes // word * word
    words = state[:whole].reshape(-1, word)
    low = np.ascontiguousarray(words[:, : word - 1]).reshape(-1)
    return low, np.ascontiguousarray(words[:, word - 1]), state[whole:]


def _joined(plain: State, high: State, raw: int, word: int) -> State:
    state = np.empty(raw, np.uint8)
    whole = len(high) * word
    low = len(high) * (word - 1)
    words = state[:whole].reshape(-1, word)
    words[:, : word - 1] = plain[:low].reshape(-1, word - 1)
    words[:, word - 1] = high
    state[whole:] = plain[low:]
    return state


def _expanded(shrunk: State, size: int) -> State:
    try:
        if zstandard.frame_content_size(shrunk.data) != size:
            raise ValueError("the plane has another length")
        return np.frombuffer(zstandard.ZstdDecompressor().decompress(shrunk.data), np.uint8)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
