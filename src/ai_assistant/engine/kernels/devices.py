"""The kernels' own list of devices, of every backend that they were built with."""

import ctypes
from typing import cast

from ai_assistant.engine.kernels import libllama
from ai_assistant.engine.kernels.ggml import Props, ggml
from ai_assistant.protocol.kernels import DeviceKind, KernelDevice

KINDS: dict[int, DeviceKind] = {0: "cpu", 1: "gpu", 2: "igpu", 3: "accelerator", 4: "meta"}
"""enum ggml_backend_dev_type"""


def devices() -> list[KernelDevice]:
    """All devices of the built kernels."""
    return [describe(handle) for handle in handles()]


def handles() -> list[int]:
    """Their C handles, in the same order."""
    libllama.start()
    return [ggml.ggml_backend_dev_get(index) for index in range(ggml.ggml_backend_dev_count())]


def describe(handle: int) -> KernelDevice:
    """One device as a message."""
    props = Props()
    ggml.ggml_backend_dev_get_props(handle, ctypes.byref(props))
    backend = ggml.ggml_backend_reg_name(ggml.ggml_backend_dev_backend_reg(handle))
    return KernelDevice(
        name=_text(props.name),
        description=_text(props.description),
        backend=_text(backend),
        kind=KINDS.get(props.type, "unknown"),
        memory_free=props.memory_free,
        memory_total=props.memory_total,
        pci=_text(props.device_id) or None,
        pinned=bool(props.caps.host_buffer),
    )


def _text(raw: object) -> str:
    return cast("bytes", raw).decode("utf-8", "replace") if raw else ""
