"""Weights are rearranged for this processor by all its cores, into huge pages.

libllama does it on one thread, tensor by tensor: for a 7B model seconds after the disk is done.
Rows are rearranged in groups that have nothing to do with each other, so each call is split: the
kernels' own function gets a copy of the tensor's description with fewer rows, on each thread.

That reaches into structures of ggml that are not its interface. Whatever does not look as in the
version that is pinned leaves everything as it was.
"""

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ai_assistant.engine.kernels.ggml import ggml

_NAME = b"CPU_REPACK"
_OVERHEAD = 368
"""sizeof(ggml_object) + sizeof(ggml_tensor), of the layout below."""
_TENSOR, _NE, _NB, _DATA = 336, 16, 48, 248
"""sizeof(ggml_tensor) and the places of ne[4], nb[4] and data in it."""
_ALLOC, _SET, _BUFFER_TYPE = 1, 4, 11
"""Places, in pointers: alloc_buffer in a buffer type, set_tensor and buft in a buffer."""
_GROUP = 16
"""Rows that may be woven into each other, at most."""
SMALL = 1 << 20
"""Bytes below which one thread does it."""

_pointer, _size, _long = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64
_Alloc = ctypes.CFUNCTYPE(_pointer, _pointer, _size)
_Name = ctypes.CFUNCTYPE(ctypes.c_char_p, _pointer)
_Set = ctypes.CFUNCTYPE(None, _pointer, _pointer, _pointer, _size, _size)

installed: "list[_Splitter]" = []
"""Callbacks live as long as the process: ggml keeps their addresses."""


def install(
    threads: int, on_buffer: Callable[[int, int], object] | None = None, *, small: int = SMALL
) -> bool:
    """From now on repacking uses so many threads, but for tensors below `small` bytes; `on_buffer`
    hears each buffer's address and size before it is filled. False where these kernels look
    otherwise: they go on by themselves."""
    if installed:
        return True
    buffer_type = _buffer_type()
    if buffer_type is None or ggml.ggml_tensor_overhead() != _OVERHEAD:
        return False
    slot = _pointer.from_address(buffer_type + 8 * _ALLOC)
    if not slot.value:
        return False
    splitter = _Splitter(buffer_type, _Alloc(slot.value), threads, on_buffer, small)
    installed.append(splitter)
    slot.value = ctypes.cast(splitter.alloc, _pointer).value
    return True


class _Splitter:
    """Stands before two functions of one buffer type."""

    def __init__(
        self,
        buffer_type: int,
        alloc: Any,
        threads: int,
        on_buffer: Callable[[int, int], object] | None,
        small: int,
    ) -> None:
        self._buffer_type = buffer_type
        self._own_alloc = alloc
        self._own_set: Any = None
        self._threads = threads
        self._on_buffer = on_buffer
        self._small = small
        self.split = 0
        """Tensors that several threads rearranged."""
        self._pool = ThreadPoolExecutor(threads, "repack")
        self.alloc = _Alloc(self._alloc)
        self._set_callback = _Set(self._set)

    def _alloc(self, buffer_type: int, size: int) -> int | None:
        buffer = self._own_alloc(buffer_type, size)
        if buffer and _pointer.from_address(buffer + 8 * _BUFFER_TYPE).value == self._buffer_type:
            if self._on_buffer:
                self._on_buffer(ggml.ggml_backend_buffer_get_base(buffer), size)
            slot = _pointer.from_address(buffer + 8 * _SET)
            if self._own_set is None:
                self._own_set = _Set(slot.value or 0)
            slot.value = ctypes.cast(self._set_callback, _pointer).value
        return buffer

    def _set(self, buffer: int, tensor: int, data: int, offset: int, size: int) -> None:
        # Nothing may be raised here: C would go on with a tensor that is not filled.
        try:
            some = offset == 0 and size >= self._small and self._threads > 1
            parts = _split(tensor, data, size, self._threads) if some else []
        except Exception:  # noqa: BLE001
            parts = []
        if len(parts) < 2:
            self._own_set(buffer, tensor, data, offset, size)
            return
        own = self._own_set
        self.split += 1

        def rearrange(part: tuple[Any, int, int]) -> None:
            own(buffer, part[0], part[1], 0, part[2])

        list(self._pool.map(rearrange, parts))


def _split(tensor: int, data: int, size: int, threads: int) -> list[tuple[Any, int, int]]:
    """Descriptions of parts of a tensor, where their data are, and how many bytes."""
    shape = [_long.from_address(tensor + _NE + 8 * axis).value for axis in range(4)]
    strides = [_size.from_address(tensor + _NB + 8 * axis).value for axis in range(4)]
    target = _pointer.from_address(tensor + _DATA).value or 0
    if shape[3] != 1 or ggml.ggml_nbytes(tensor) != size:
        return []
    axis = 2 if shape[2] > 1 else 1
    count, stride = shape[axis], strides[axis]
    if stride * count != size:
        return []
    group = 1 if axis == 2 else _GROUP
    each = -(-count // (threads * 2) // group) * group
    parts: list[tuple[Any, int, int]] = []
    for first in range(0, count, max(each, group)):
        some = min(max(each, group), count - first)
        copy = ctypes.create_string_buffer(ctypes.string_at(tensor, _TENSOR), _TENSOR)
        place = ctypes.addressof(copy)
        _long.from_address(place + _NE + 8 * axis).value = some
        for later in range(axis + 1, 4):
            _size.from_address(place + _NB + 8 * later).value = stride * some
        _pointer.from_address(place + _DATA).value = target + first * stride
        parts.append((copy, data + first * stride, some * stride))
    return parts


def _buffer_type() -> int | None:
    """ggml's type of the buffers that hold rearranged weights."""
    if os.name == "nt" or ctypes.sizeof(_pointer) != 8:
        return None
    for index in range(ggml.ggml_backend_dev_count()):
        device = ggml.ggml_backend_dev_get(index)
        registry = ggml.ggml_backend_dev_backend_reg(device)
        address = ggml.ggml_backend_reg_get_proc_address(
            registry, b"ggml_backend_dev_get_extra_bufts"
        )
        if not address:
            continue
        ask = ctypes.CFUNCTYPE(ctypes.POINTER(_pointer), _pointer)(address)
        found = ask(device)
        place = 0
        while found and found[place]:
            kind: int = found[place] or 0
            name = _Name(_pointer.from_address(kind).value or 0)
            if name(kind) == _NAME:
                return kind
            place += 1
    return None
