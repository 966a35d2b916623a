"""Where the tensors of a file lie, as the kernels themselves read its header."""

import ctypes
from typing import Any

import llama_cpp._ggml as binding
import msgspec


class TensorPlace(msgspec.Struct, frozen=True):
    """One tensor's data in the file."""

    name: str
    start: int
    bytes: int


class _Params(ctypes.Structure):
    """struct gguf_init_params"""

    _fields_ = [("no_alloc", ctypes.c_bool), ("context", ctypes.c_void_p)]


_pointer, _size, _long = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "gguf_init_from_file": (_pointer, [ctypes.c_char_p, _Params]),
    "gguf_free": (None, [_pointer]),
    "gguf_get_data_offset": (_size, [_pointer]),
    "gguf_get_n_tensors": (_long, [_pointer]),
    "gguf_get_tensor_name": (ctypes.c_char_p, [_pointer, _long]),
    "gguf_get_tensor_offset": (_size, [_pointer, _long]),
    "gguf_get_tensor_size": (_size, [_pointer, _long]),
}


def tensor_places(path: str) -> list[TensorPlace]:
    """In the file's order; none where the file is not a whole GGUF."""
    ask = {name: _declared(name) for name in _SIGNATURES}
    handle = ask["gguf_init_from_file"](path.encode(), _Params(True, None))
    if not handle:
        return []
    try:
        base = ask["gguf_get_data_offset"](handle)
        return [
            TensorPlace(
                ask["gguf_get_tensor_name"](handle, index).decode("utf-8", "replace"),
                base + ask["gguf_get_tensor_offset"](handle, index),
                ask["gguf_get_tensor_size"](handle, index),
            )
            for index in range(ask["gguf_get_n_tensors"](handle))
        ]
    finally:
        ask["gguf_free"](handle)


def _declared(name: str) -> Any:
    function: Any = binding.libggml[name]
    function.restype, function.argtypes = _SIGNATURES[name]
    return function
