"""How fast one device is, by the kernels' own operations: products, copies, transfers, launches."""

import time
from collections.abc import Iterator

import msgspec
import numpy as np

from ai_assistant.engine.kernels import devices
from ai_assistant.engine.kernels.ggml import ggml
from ai_assistant.engine.kernels.workbench import (
    Refused,
    Tensors,
    Workbench,
    quantised_rows,
    seconds_each,
)
from ai_assistant.protocol.kernels import DeviceSpeed, KernelDevice, MatrixRate, MeasureTask

COLUMNS, ROWS = 4096, 8192
"""One matrix: as wide as a layer of a model of 7 to 8 billion parameters."""
SHARES = {1: 1, 8: 1, 32: 1, 128: 2, 512: 4}
"""Of the time: wide products take long on a processor."""
FEW_WEIGHTS, MANY_WEIGHTS = 192 << 20, 512 << 20
"""Bytes of weights in one pass: more than caches hold. On a processor, on a card."""
_LEAST = 0.05
"""Seconds that each product gets even when time is up."""
TRANSFER = 64 << 20
BOUNDARY = 16 << 10


def measure(task: MeasureTask) -> DeviceSpeed:
    """Everything that this device can tell; raises `Refused` if it does not start."""
    begun = time.perf_counter()
    handle, device = _find(task.device)
    if device.kind != "cpu":
        task = msgspec.structs.replace(task, threads=0, fewer_threads=())
    bench = Workbench(handle, task.threads)
    speed = DeviceSpeed(device=device.name, threads=bench.threads)
    try:
        for part in _parts(bench, device, task, begun + task.seconds):
            speed = msgspec.structs.replace(speed, **part)
    finally:
        bench.close()
    return msgspec.structs.replace(speed, seconds=time.perf_counter() - begun)


def _find(name: str) -> tuple[int, KernelDevice]:
    for handle in devices.handles():
        device = devices.describe(handle)
        if device.name == name:
            return handle, device
    raise Refused(f"there is no device {name}")


def _parts(
    bench: Workbench, device: KernelDevice, task: MeasureTask, deadline: float
) -> Iterator[dict[str, object]]:
    limit = task.memory_limit or device.memory_free // 8
    yield {"launch_seconds": _launch(bench)}
    if task.transfers:
        yield {"copy_bytes_per_second": _copy(bench, device, limit)}
        if device.kind in ("gpu", "igpu"):
            yield _transfers(bench, limit)
    matrices: list[MatrixRate] = []
    for index, kind in enumerate(task.weights):
        share = (deadline - time.perf_counter()) / (len(task.weights) - index)
        matrices += _products(bench, device, task, kind, limit, share)
        yield {"matrices": tuple(matrices)}


def _launch(bench: Workbench) -> float | None:
    with Tensors(4) as tensors:
        copy = ggml.ggml_cpy(tensors.context, tensors.vector(32), tensors.vector(32))
        graph = tensors.graph([copy])
        return _timed(bench, tensors, graph, 0.05)


def _copy(bench: Workbench, device: KernelDevice, limit: int) -> float | None:
    wanted = (128 << 20) if device.kind == "cpu" else (256 << 20)
    size = min(wanted, limit // 3) // 4096 * 4096
    with Tensors(6) as tensors:
        source, target = tensors.vector(size // 4), tensors.vector(size // 4)
        graph = tensors.graph([ggml.ggml_cpy(tensors.context, source, target) for _ in range(2)])
        seconds = _timed(bench, tensors, graph, 0.2)
    return 2 * 2 * size / seconds if seconds else None


def _timed(bench: Workbench, tensors: Tensors, graph: int, budget: float) -> float | None:
    try:
        tensors.place(bench.buffer_type)
        tensors.clear()
        return seconds_each(lambda: bench.compute(graph), budget=budget)
    except Refused:
        return None


def _transfers(bench: Workbench, limit: int) -> dict[str, object]:
    """Both ways, from memory that is page-locked and from memory that is not."""
    size = min(TRANSFER, limit // 3)
    found: dict[str, object] = {}
    with Tensors(1) as tensors:
        tensor = tensors.vector(size // 4)
        try:
            tensors.place(bench.buffer_type)
        except Refused:
            return {}
        size = ggml.ggml_nbytes(tensor)
        usual = np.ones(size, dtype=np.uint8)
        found |= _both_ways(tensor, usual.ctypes.data, size, "pageable")
        there = seconds_each(
            lambda: _there_and_back(tensor, usual.ctypes.data, BOUNDARY), budget=0.05
        )
        found["boundary_seconds"] = there
        if kind := ggml.ggml_backend_dev_host_buffer_type(bench.device):
            locked = ggml.ggml_backend_buft_alloc_buffer(kind, size)
            if locked:
                base = ggml.ggml_backend_buffer_get_base(locked)
                found |= _both_ways(tensor, base, size, "pinned")
                ggml.ggml_backend_buffer_free(locked)
    return found


def _there_and_back(tensor: int, address: int, size: int) -> None:
    ggml.ggml_backend_tensor_set(tensor, address, 0, size)
    ggml.ggml_backend_tensor_get(tensor, address, 0, size)


def _both_ways(tensor: int, address: int, size: int, memory: str) -> dict[str, object]:
    there = seconds_each(
        lambda: ggml.ggml_backend_tensor_set(tensor, address, 0, size), budget=0.15
    )
    back = seconds_each(lambda: ggml.ggml_backend_tensor_get(tensor, address, 0, size), budget=0.15)
    return {f"to_device_{memory}": size / there, f"from_device_{memory}": size / back}


def _products(
    bench: Workbench, device: KernelDevice, task: MeasureTask, kind: str, limit: int, budget: float
) -> list[MatrixRate]:
    """One type of weights at every width; the first buffer that the device takes them in."""
    row = quantised_rows(kind, COLUMNS)
    one = len(row) // 64 * ROWS
    wanted = FEW_WEIGHTS if device.kind == "cpu" else MANY_WEIGHTS
    count = min(wanted, limit // 2) // one
    if count < 1:
        return []
    for buffer_type in bench.weight_types():
        with Tensors(count) as weights:
            matrices = [weights.matrix(kind, COLUMNS, ROWS) for _ in range(count)]
            try:
                weights.place(buffer_type, weights=True)
            except Refused:
                continue
            if not _takes(bench, matrices[0]):
                continue
            _fill(matrices, row, one)
            series = _Series(bench, kind, matrices, one, repacked=buffer_type != bench.buffer_type)
            return series.run(task, budget)
    return []


def _takes(bench: Workbench, matrix: int) -> bool:
    with Tensors(2) as tensors:
        inputs = tensors.matrix("f32", COLUMNS, 1)
        return bench.supports(ggml.ggml_mul_mat(tensors.context, matrix, inputs))


def _fill(matrices: list[int], row: bytes, size: int) -> None:
    whole = np.tile(np.frombuffer(row, dtype=np.uint8), -(-size // len(row)))[:size]
    for matrix in matrices:
        ggml.ggml_backend_tensor_set(matrix, whole.ctypes.data, 0, size)


class _Series:
    """Products of one type of weights, wider and wider."""

    def __init__(
        self, bench: Workbench, kind: str, matrices: list[int], size: int, *, repacked: bool
    ) -> None:
        self._bench = bench
        self._kind = kind
        self._matrices = matrices
        self._size = size
        self._repacked = repacked
        self._found: list[MatrixRate] = []

    def run(self, task: MeasureTask, budget: float) -> list[MatrixRate]:
        """Every width that there is time for; first decoding with fewer threads."""
        deadline = time.perf_counter() + budget
        if task.fewer_threads and self._kind == task.weights[0]:
            for threads in task.fewer_threads:
                self._bench.use_threads(threads)
                self._take(1, 0.15)
            self._bench.use_threads(task.threads)
        for index, tokens in enumerate(task.tokens):
            left = sum(SHARES.get(one, 1) for one in task.tokens[index:])
            share = (deadline - time.perf_counter()) * SHARES.get(tokens, 1) / left
            self._take(tokens, max(share, _LEAST))
        return self._found

    def _take(self, tokens: int, seconds: float) -> None:
        count = self._count(tokens, seconds)
        matrices = self._matrices[:count]
        taken = _product(self._bench, matrices, tokens, seconds) if matrices else None
        if taken is not None:
            self._found.append(
                MatrixRate(
                    weights=self._kind,
                    tokens=tokens,
                    threads=self._bench.threads,
                    seconds=taken,
                    weight_bytes=count * self._size,
                    elements=count * COLUMNS * ROWS,
                    repacked=self._repacked,
                )
            )

    def _count(self, tokens: int, seconds: float) -> int:
        """Matrices that fit the time twice, if width gains nothing; one that fits once; or none."""
        if not self._found:
            return len(self._matrices)
        last = self._found[-1]
        slow = last.seconds * self._size / last.weight_bytes * tokens / last.tokens
        if slow > seconds:
            return 0
        return min(len(self._matrices), max(1, int(seconds / 2 / slow)))


def _product(bench: Workbench, matrices: list[int], tokens: int, budget: float) -> float | None:
    with Tensors(2 * len(matrices) + 2) as tensors:
        inputs = tensors.matrix("f32", COLUMNS, tokens)
        nodes = [ggml.ggml_mul_mat(tensors.context, matrix, inputs) for matrix in matrices]
        graph = tensors.graph(nodes)
        try:
            tensors.place(bench.buffer_type)
            numbers = np.random.default_rng(1).standard_normal(COLUMNS * tokens, dtype=np.float32)
            ggml.ggml_backend_tensor_set(inputs, numbers.ctypes.data, 0, numbers.nbytes)
            return seconds_each(lambda: bench.compute(graph), budget=budget)
        except Refused:
            return None
