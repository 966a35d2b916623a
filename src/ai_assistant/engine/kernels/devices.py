"""The kernels' own list of devices. The binding declares no ggml function, so these are ours."""

import ctypes

import llama_cpp._ggml as binding
import msgspec

from ai_assistant.engine.kernels import libllama

KINDS = {0: "cpu", 1: "gpu", 2: "igpu", 3: "accelerator", 4: "meta"}
"""enum ggml_backend_dev_type"""


class Device(msgspec.Struct, frozen=True):
    """Something that the kernels can compute on; memory in bytes."""

    name: str
    description: str
    kind: str
    memory_free: int
    memory_total: int


def devices() -> list[Device]:
    """All devices of the built kernels."""
    libllama.start()
    ggml = binding.libggml
    ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    ggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    ggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    return [
        _describe(ggml, ggml.ggml_backend_dev_get(index))
        for index in range(ggml.ggml_backend_dev_count())
    ]


def _describe(ggml: ctypes.CDLL, device: int) -> Device:
    handle = ctypes.c_void_p(device)
    for read in (ggml.ggml_backend_dev_name, ggml.ggml_backend_dev_description):
        read.argtypes, read.restype = [ctypes.c_void_p], ctypes.c_char_p
    ggml.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    ggml.ggml_backend_dev_memory(handle, ctypes.byref(free), ctypes.byref(total))
    return Device(
        name=ggml.ggml_backend_dev_name(handle).decode(),
        description=ggml.ggml_backend_dev_description(handle).decode(),
        kind=KINDS.get(ggml.ggml_backend_dev_type(handle), "unknown"),
        memory_free=free.value,
        memory_total=total.value,
    )
