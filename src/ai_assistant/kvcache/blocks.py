"""A block is 256 tokens of KV, named by the hash of its whole prefix.

Chained as in vLLM's automatic prefix caching: name = H(name of the block before, its tokens), so
equal names mean equal prefixes. The salt of the first block keeps tenants apart.
"""

from array import array
from collections.abc import Iterator
from hashlib import blake2b

BLOCK = 256
"""Tokens in a block."""


def block_name(parent: bytes, tokens: "array[int]") -> bytes:
    """The 16-byte name of a block that follows `parent`."""
    return blake2b(tokens.tobytes(), digest_size=16, key=parent).digest()


def root_name(salt: bytes) -> bytes:
    """What stands before the first block."""
    return blake2b(salt, digest_size=16).digest()


def block_names(root: bytes, tokens: "array[int]") -> Iterator[bytes]:
    """The names of the full blocks of a sequence, one at a time: stop when one is unknown."""
    name = root
    for start in range(0, len(tokens) - BLOCK + 1, BLOCK):
        name = block_name(name, tokens[start : start + BLOCK])
        yield name
