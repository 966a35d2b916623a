"""The few ggml functions that the binding does not declare, with their types."""

import ctypes
import sys
from typing import Any

import llama_cpp._ctypes_extensions as extensions
import llama_cpp._ggml as binding

TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 8, "q4_K": 12, "q5_K": 13, "q6_K": 14, "bf16": 30}
"""enum ggml_type"""
WEIGHTS = 1
"""GGML_BACKEND_BUFFER_USAGE_WEIGHTS"""

_pointer, _size, _text = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p
_integer, _long = ctypes.c_int, ctypes.c_int64


class Caps(ctypes.Structure):
    """struct ggml_backend_dev_caps"""

    _fields_ = [
        (name, ctypes.c_bool)
        for name in ("async_", "host_buffer", "buffer_from_host_ptr", "events", "mmap_support")
    ]


class Props(ctypes.Structure):
    """struct ggml_backend_dev_props"""

    _fields_ = [
        ("name", _text),
        ("description", _text),
        ("memory_free", _size),
        ("memory_total", _size),
        ("type", _integer),
        ("device_id", _text),
        ("caps", Caps),
    ]


class InitParams(ctypes.Structure):
    """struct ggml_init_params"""

    _fields_ = [("mem_size", _size), ("mem_buffer", _pointer), ("no_alloc", ctypes.c_bool)]


_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "ggml_init": (_pointer, [InitParams]),
    "ggml_free": (None, [_pointer]),
    "ggml_tensor_overhead": (_size, []),
    "ggml_graph_overhead": (_size, []),
    "ggml_nbytes": (_size, [_pointer]),
    "ggml_get_name": (_text, [_pointer]),
    "ggml_row_size": (_size, [_integer, _long]),
    "ggml_new_tensor_1d": (_pointer, [_pointer, _integer, _long]),
    "ggml_new_tensor_2d": (_pointer, [_pointer, _integer, _long, _long]),
    "ggml_cpy": (_pointer, [_pointer, _pointer, _pointer]),
    "ggml_mul_mat": (_pointer, [_pointer, _pointer, _pointer]),
    "ggml_new_graph": (_pointer, [_pointer]),
    "ggml_build_forward_expand": (None, [_pointer, _pointer]),
    "ggml_quantize_chunk": (
        _size,
        [_integer, _pointer, _pointer, _long, _long, _long, _pointer],
    ),
    "ggml_backend_dev_count": (_size, []),
    "ggml_backend_dev_get": (_pointer, [_size]),
    "ggml_backend_dev_get_props": (None, [_pointer, ctypes.POINTER(Props)]),
    "ggml_backend_dev_backend_reg": (_pointer, [_pointer]),
    "ggml_backend_dev_init": (_pointer, [_pointer, _text]),
    "ggml_backend_dev_host_buffer_type": (_pointer, [_pointer]),
    "ggml_backend_dev_supports_op": (ctypes.c_bool, [_pointer, _pointer]),
    "ggml_backend_free": (None, [_pointer]),
    "ggml_backend_reg_name": (_text, [_pointer]),
    "ggml_backend_reg_get_proc_address": (_pointer, [_pointer, _text]),
    "ggml_backend_cpu_buffer_type": (_pointer, []),
    "ggml_backend_get_default_buffer_type": (_pointer, [_pointer]),
    "ggml_backend_alloc_ctx_tensors_from_buft": (_pointer, [_pointer, _pointer]),
    "ggml_backend_buft_alloc_buffer": (_pointer, [_pointer, _size]),
    "ggml_backend_buffer_free": (None, [_pointer]),
    "ggml_backend_buffer_clear": (None, [_pointer, ctypes.c_uint8]),
    "ggml_backend_buffer_get_base": (_pointer, [_pointer]),
    "ggml_backend_buffer_set_usage": (None, [_pointer, _integer]),
    "ggml_backend_tensor_set": (None, [_pointer, _pointer, _size, _size]),
    "ggml_backend_tensor_get": (None, [_pointer, _pointer, _size, _size]),
    "ggml_backend_graph_compute": (_integer, [_pointer, _pointer]),
    "ggml_backend_synchronize": (None, [_pointer]),
}


def _declared() -> Any:
    libraries = [binding.libggml]
    if sys.platform == "win32":  # There a handle does not reach what it depends on.
        libraries.append(extensions.load_shared_library("ggml-base", binding.libggml_base_path))

    class Functions:
        """The declared functions, by name."""

    for name, (result, arguments) in _SIGNATURES.items():
        library = next((one for one in libraries if hasattr(one, name)), libraries[0])
        function = library[name]  # A handle of our own: others may declare theirs differently.
        function.restype, function.argtypes = result, arguments
        setattr(Functions, name, staticmethod(function))
    return Functions


ggml: Any = _declared()
"""The C functions. Untyped on purpose: plain numbers and pointers go in and out."""
