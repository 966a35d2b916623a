"""Quantised tensors made of random bytes: no float is ever rounded, so gigabytes take seconds.

Each function's rows behave like normally distributed ones of deviation `deviation`: the scales of
all blocks are equal and chosen so that uniform quants are centred and have that deviation.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType as Type

Bytes = npt.NDArray[np.uint8]


def random_blocks(
    kind: Type, rows: int, columns: int, deviation: float, random: np.random.Generator
) -> Bytes:
    """`rows` × `columns` values as the bytes of a tensor of type `kind`."""
    values, size, finish = _LAYOUTS[kind]
    if columns % values:
        raise ValueError(f"{kind.name} wants rows of a multiple of {values}, not {columns}")
    count = rows * columns // values
    blocks = np.frombuffer(random.bytes(count * size), np.uint8).reshape(count, size).copy()
    finish(blocks, deviation)
    return blocks.reshape(rows, columns // values * size)


def _q8_0(blocks: Bytes, deviation: float) -> None:
    """d, then 32 signed bytes: uniform over 256 steps."""
    blocks[:, 0:2] = _half(deviation / _uniform(256))


def _q4_k(blocks: Bytes, deviation: float) -> None:
    """d, dmin, 8 scales and 8 minima of 6 bits in 12 bytes, then 256 nibbles.

    All scales and minima are 8, so a value is 8·(d·q - dmin), which 7.5·d centres.
    """
    scale = deviation / (8 * _uniform(16))
    blocks[:, 0:2] = _half(scale)
    blocks[:, 2:4] = _half(7.5 * scale)
    blocks[:, 4:12] = 8
    blocks[:, 12:16] = 0x88


def _q6_k(blocks: Bytes, deviation: float) -> None:
    """128 + 64 bytes of quants of 6 bits, 16 signed scales, d. All scales are 16."""
    blocks[:, 192:208] = 16
    blocks[:, 208:210] = _half(deviation / (16 * _uniform(64)))


def _uniform(steps: int) -> float:
    """The deviation of uniform integers."""
    return float(np.sqrt((steps**2 - 1) / 12))


def _half(value: float) -> Bytes:
    return np.frombuffer(np.float16(value).tobytes(), np.uint8)


_LAYOUTS: dict[Type, tuple[int, int, Callable[[Bytes, float], None]]] = {
    Type.Q8_0: (32, 34, _q8_0),
    Type.Q4_K: (256, 144, _q4_k),
    Type.Q6_K: (256, 210, _q6_k),
}
