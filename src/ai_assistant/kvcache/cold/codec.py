"""How a state is packed: the high bytes of floating-point numbers shrink, all else is noise.

Measured by `python -m benchmarks.kv_codec`: sign and exponent lie in the high byte, and zstd takes
that plane to two thirds with f16, to one third with bf16. The low plane and quantised types gain
less than it costs to unpack them; lz4 gains nothing on f16 and half as much on bf16.
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
    """The low bytes of all words, plane by plane, their high bytes, what follows the last word."""
    whole = state.nbytes // word * word
    words = state[:whole].reshape(-1, word)
    low = np.empty((word - 1, len(words)), np.uint8)
    for place in range(word - 1):
        low[place] = words[:, place]
    return low.reshape(-1), np.ascontiguousarray(words[:, word - 1]), state[whole:]


def _joined(plain: State, high: State, raw: int, word: int) -> State:
    state = np.empty(raw, np.uint8)
    whole = len(high) * word
    words = state[:whole].reshape(-1, word)
    for place in range(word - 1):
        words[:, place] = plain[place * len(high) : (place + 1) * len(high)]
    words[:, word - 1] = high
    state[whole:] = plain[len(high) * (word - 1) :]
    return state


def _expanded(shrunk: State, size: int) -> State:
    try:
        if zstandard.frame_content_size(shrunk.data) != size:
            raise ValueError("the plane has another length")
        return np.frombuffer(zstandard.ZstdDecompressor().decompress(shrunk.data), np.uint8)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
