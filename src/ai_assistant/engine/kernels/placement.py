"""Where a model's weights go: what libllama wants to know of it, beyond the number of layers."""

import ctypes
from typing import Any, cast

import msgspec

from ai_assistant.engine.kernels.ggml import ggml
from ai_assistant.engine.kernels.libllama import llama

_LOAD_MODES = {"auto": -1, "read": 0, "mmap": 1, "direct": 4}
"""enum llama_load_mode"""
_FEED = rb"blk\.%d\.ffn_(up|down|gate|gate_up)(_(ch|)exps)?\."
"""A layer's feed-forward weights; of a mixture its experts, not its router and what all share."""


class _Override(ctypes.Structure):
    """struct llama_model_tensor_buft_override"""

    _fields_ = [("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p)]


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """As in `protocol.engine_plan.EnginePlan`."""

    feeds_on_cpu: int = 0
    on_cpu: tuple[str, ...] = ()
    """Patterns of other tensors that stay in main memory."""
    tensor_split: tuple[float, ...] = ()
    host_buffers: bool = True
    load_mode: str = "auto"


def place(params: Any, placement: Placement) -> list[Any]:
    """Write it into `llama_model_params`. What returns must live until the load is over."""
    params.no_host = not placement.host_buffers
    params.load_mode = _LOAD_MODES[placement.load_mode]
    kept: list[Any] = []
    if placement.tensor_split:
        shares = (ctypes.c_float * llama.llama_max_devices())(*placement.tensor_split)
        params.tensor_split = ctypes.cast(shares, cast("Any", ctypes.POINTER(ctypes.c_float)))
        kept.append(shares)
    patterns = [_FEED % layer for layer in range(placement.feeds_on_cpu)]
    patterns += [pattern.encode() for pattern in placement.on_cpu]
    if patterns:
        main_memory = ggml.ggml_backend_cpu_buffer_type()
        rows = [(pattern, main_memory) for pattern in patterns]
        overrides = (_Override * (len(rows) + 1))(*rows)  # The last one, empty, is the end.
        params.tensor_buft_overrides = ctypes.addressof(overrides)
        kept.append(overrides)
    return kept
