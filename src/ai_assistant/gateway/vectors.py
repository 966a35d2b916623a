"""Vectors as they come from a worker, as numbers."""

import sys
from array import array


def numbers(vector: bytes) -> list[float]:
    """The numbers of a float32, little-endian vector."""
    found = array("f")
    found.frombytes(vector)
    if sys.byteorder == "big":
        found.byteswap()
    return found.tolist()
