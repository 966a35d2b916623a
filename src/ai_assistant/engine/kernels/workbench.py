"""One device made ready for measuring: tensors on it, graphs over them, and a clock."""

import ctypes
import time
from collections.abc import Callable, Sequence
from types import TracebackType

import numpy as np

from ai_assistant.engine.kernels.ggml import TYPES, WEIGHTS, InitParams, ggml

_ROWS = 64
"""Rows of real quantised numbers; they are repeated to fill a matrix."""


class Refused(Exception):
    """The device cannot do this."""


class Tensors:
    """Tensors and graphs in one buffer of the device; gives the memory back at the end."""

    def __init__(self, count: int) -> None:
        overhead = ggml.ggml_tensor_overhead() * (count + 8) + 2 * ggml.ggml_graph_overhead()
        self.context: int = ggml.ggml_init(InitParams(overhead, None, True))
        self._buffer: int | None = None

    def vector(self, length: int) -> int:
        """A tensor of `f32`."""
        return ggml.ggml_new_tensor_1d(self.context, TYPES["f32"], length)

    def matrix(self, kind: str, columns: int, rows: int) -> int:
        """A tensor of the type named."""
        return ggml.ggml_new_tensor_2d(self.context, TYPES[kind], columns, rows)

    def graph(self, nodes: Sequence[int]) -> int:
        """What computes these, in order."""
        graph: int = ggml.ggml_new_graph(self.context)
        for node in nodes:
            ggml.ggml_build_forward_expand(graph, node)
        return graph

    def place(self, buffer_type: int, *, weights: bool = False) -> None:
        """Give every tensor memory of this kind; raises `Refused`."""
        buffer = ggml.ggml_backend_alloc_ctx_tensors_from_buft(self.context, buffer_type)
        if not buffer:
            raise Refused("there is not enough memory")
        self._buffer = buffer
        if weights:
            ggml.ggml_backend_buffer_set_usage(buffer, WEIGHTS)

    def clear(self) -> None:
        """Fill all tensors with zeros: memory that was never written is not really there."""
        ggml.ggml_backend_buffer_clear(self._buffer, 0)

    def __enter__(self) -> "Tensors":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        if self._buffer:
            ggml.ggml_backend_buffer_free(self._buffer)
        ggml.ggml_free(self.context)


class Workbench:
    """A started device."""

    def __init__(self, device: int, threads: int) -> None:
        self.device = device
        self.threads = threads
        self._backend: int | None = ggml.ggml_backend_dev_init(device, None)
        if not self._backend:
            raise Refused("the device does not start")
        self.buffer_type: int = ggml.ggml_backend_get_default_buffer_type(self._backend)
        self._registry: int = ggml.ggml_backend_dev_backend_reg(device)
        if threads:
            self.use_threads(threads)

    def use_threads(self, count: int) -> None:
        """How many compute from now on; a card takes no notice."""
        if address := self._special(b"ggml_backend_set_n_threads"):
            kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int)
            kind(address)(self._backend, count)
            self.threads = count

    def close(self) -> None:
        """Give the device back."""
        ggml.ggml_backend_free(self._backend)
        self._backend = None

    def weight_types(self) -> list[int]:
        """Buffers that weights may lie in, the best first, as the loader would choose."""
        found: list[int] = []
        if address := self._special(b"ggml_backend_dev_get_extra_bufts"):
            kind = ctypes.CFUNCTYPE(ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p)
            for one in kind(address)(self.device):
                if not one:
                    break
                found.append(one)
        return [*found, self.buffer_type]

    def supports(self, node: int) -> bool:
        """Whether the device computes this, its tensors lying where they do."""
        return bool(ggml.ggml_backend_dev_supports_op(self.device, node))

    def compute(self, graph: int) -> None:
        """Once through, until the end is known; raises `Refused`."""
        if ggml.ggml_backend_graph_compute(self._backend, graph) != 0:
            raise Refused("the device failed to compute")
        ggml.ggml_backend_synchronize(self._backend)

    def _special(self, name: bytes) -> int | None:
        return ggml.ggml_backend_reg_get_proc_address(self._registry, name)


def seconds_each(work: Callable[[], None], *, budget: float) -> float:
    """Median seconds of one piece of work, repeated for about `budget` seconds.

    The first one compiles, touches pages and wakes clocks: it counts only if there is no time for
    another.
    """
    begun = time.perf_counter()
    times = [_seconds(work)]
    while time.perf_counter() - begun + min(times) < budget:
        times.append(_seconds(work))
    return float(np.median(times[1:] or times))


def _seconds(work: Callable[[], None]) -> float:
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


def quantised_rows(kind: str, columns: int) -> bytes:
    """Some rows of random weights in the type named."""
    numbers = np.random.default_rng(7).standard_normal((_ROWS, columns), dtype=np.float32)
    if kind == "f16":
        return numbers.astype(np.float16).tobytes()
    if kind == "f32":
        return numbers.tobytes()
    packed = np.empty(_ROWS * ggml.ggml_row_size(TYPES[kind], columns), dtype=np.uint8)
    ggml.ggml_quantize_chunk(
        TYPES[kind], numbers.ctypes.data, packed.ctypes.data, 0, _ROWS, columns, None
    )
    return packed.tobytes()
