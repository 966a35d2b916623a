"""Whether bytes from another machine are the state of a block, before any kernel sees them.

The walk follows what libllama writes for a sequence (llama-kv-cache.cpp of the pinned version:
state_write_meta, state_write_data); where it ends elsewhere than the bytes do, they are refused.
Shapes are the kernels' to compare. Numbers that are none (NaN, infinite) would spoil the answers of
others, too: a masked cell's value is multiplied by zero, and zero times NaN is NaN.
"""

import struct

import numpy as np
from numpy.typing import NDArray

from ai_assistant.engine.kernels.context import KV_TYPES
from ai_assistant.kvcache.blocks import State

MAGIC = 0xAF143CD8
_START = struct.Struct("<IiII")
"""Magic, the sequence's number, streams, cells."""
_CELL = np.dtype([("position", "<i4"), ("sequences", "<u4"), ("sequence", "<i4")])
_SHAPE = struct.Struct("<II")
"""Whether values are transposed, layers."""
_ROWS = struct.Struct("<iQ")
"""Type, bytes of a cell's row."""
_COLUMNS = struct.Struct("<iII")
"""Type, bytes of an element, elements of a cell."""
_LARGEST = 65504.0
"""Of 16-bit floating point: larger ones become infinite within a layer."""
_SCALES = {"q4_0": (18, 1), "q4_1": (20, 2), "q5_0": (22, 1), "q5_1": (24, 2), "q8_0": (34, 1)}
"""Bytes of a group of packed numbers, and with how many 16-bit scales it begins."""


class Unsound(Exception):
    """These bytes are not the state of that block."""


def check_state(state: State, *, start: int, count: int, layers: int, kv_type: str) -> None:
    """Raise `Unsound` unless it is the state of `count` positions from `start` on."""
    walk = _Walk(state)
    magic, _, streams, cells = walk.take(_START)
    if (magic, streams, cells) != (MAGIC, 1, count):
        raise Unsound("it is not one sequence of so many tokens")
    table = walk.bytes(count * _CELL.itemsize).view(_CELL)
    wanted = np.arange(start, start + count)
    if not (np.sort(table["position"]) == wanted).all() or (table["sequences"] != 1).any():
        raise Unsound("its positions are others")
    transposed, held = walk.take(_SHAPE)
    if held != layers or transposed > 1:
        raise Unsound("it has other layers")
    for _ in range(layers):
        _check_rows(walk, count, kv_type)
    for _ in range(layers):
        (_check_columns if transposed else _check_rows)(walk, count, kv_type)
    if not walk.ended:
        raise Unsound("it is longer than what it holds")


def _check_rows(walk: "_Walk", count: int, kv_type: str) -> None:
    kind, row = walk.take(_ROWS)
    _check_numbers(kind, walk.bytes(row * count), kv_type)


def _check_columns(walk: "_Walk", count: int, kv_type: str) -> None:
    kind, element, width = walk.take(_COLUMNS)
    _check_numbers(kind, walk.bytes(element * width * count), kv_type)


def _check_numbers(kind: int, data: State, kv_type: str) -> None:
    if kind != KV_TYPES[kv_type]:
        raise Unsound("its numbers are of another type")
    if not are_finite(data, kv_type):
        raise Unsound("it holds what is no number")


def are_finite(data: State, kv_type: str) -> bool:
    """Whether all numbers are some that attention can have given."""
    if kv_type in _SCALES:
        size, scales = _SCALES[kv_type]
        if data.nbytes % size:
            return False
        packed = np.ascontiguousarray(data.reshape(-1, size)[:, : 2 * scales])
        return _halves_are_finite(packed.reshape(-1).view("<u2"))
    width = 4 if kv_type == "f32" else 2
    if data.nbytes % width:
        return False
    plain = np.frombuffer(data.tobytes(), f"<u{width}")
    if kv_type == "f16":
        return _halves_are_finite(plain)
    if kv_type == "bf16":
        plain = plain.astype("<u4") << 16
    with np.errstate(invalid="ignore"):
        return bool((np.abs(plain.view("<f4")) <= _LARGEST).all())


def _halves_are_finite(numbers: "NDArray[np.uint16]") -> bool:
    return not bool(((numbers & 0x7C00) == 0x7C00).any())


class _Walk:
    """Takes from the front; never beyond the end."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._at = 0

    @property
    def ended(self) -> bool:
        return self._at == self._state.nbytes

    def bytes(self, count: int) -> State:
        if count > self._state.nbytes - self._at:
            raise Unsound("it is cut off")
        self._at += count
        return self._state[self._at - count : self._at]

    def take(self, form: struct.Struct) -> tuple[int, ...]:
        return form.unpack(self.bytes(form.size).tobytes())
