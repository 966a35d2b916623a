"""A block is 256 tokens of KV, named by the hash of its whole prefix.

Chained as in vLLM's automatic prefix caching: name = H(name of the block before, its tokens), so
equal names mean equal prefixes. The salt of the first block keeps tenants apart. A block with
fewer tokens is the tail of a sequence. Where a model's state cannot be cut (sliding window,
recurrent) one block of any length, a checkpoint, stands for a whole sequence.
"""

from array import array
from collections.abc import Iterator
from hashlib import blake2b

import msgspec
import numpy as np
from numpy.typing import NDArray

BLOCK = 256
"""Tokens in a block."""
NAME_BYTES = 16

State = NDArray[np.uint8]
"""What the kernels saved; what the bytes mean is not known here."""


class BlockId(msgspec.Struct, frozen=True):
    """Names a block, the one before it, and says how many tokens it holds."""

    parent: bytes
    name: bytes
    count: int


class Block(msgspec.Struct, frozen=True, eq=False):
    """A block with its tokens and its state."""

    id: BlockId
    tokens: "array[int]"
    state: State


def block_name(parent: bytes, tokens: "array[int]") -> bytes:
    """The 16-byte name of a block that follows `parent`."""
    return blake2b(tokens.tobytes(), digest_size=NAME_BYTES, key=parent).digest()


def root_name(salt: bytes) -> bytes:
    """What stands before the first block."""
    return blake2b(salt, digest_size=NAME_BYTES).digest()


def block_names(root: bytes, tokens: "array[int]") -> Iterator[bytes]:
    """The names of the full blocks of a sequence, one at a time: stop when one is unknown."""
    name = root
    for start in range(0, len(tokens) - BLOCK + 1, BLOCK):
        name = block_name(name, tokens[start : start + BLOCK])
        yield name


def common_prefix(a: "array[int]", b: "array[int]", start: int, offset: int = 0) -> int:
    """How many tokens of `a` from `start` on equal those of `b` from `start + offset` on."""
    end = min(len(a), len(b) - offset)
    if end <= start:
        return 0
    left = np.frombuffer(a, np.int32, end - start, start * 4)
    right = np.frombuffer(b, np.int32, end - start, (start + offset) * 4)
    differing = left != right
    first = int(differing.argmax())
    return first if differing[first] else end - start
