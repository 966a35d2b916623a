"""Products of quantised weights with tokens: by the processor's kernels, and by the book."""

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from gguf.quants import dequantize
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

from ai_assistant.engine.kernels import devices
from ai_assistant.engine.kernels.ggml import TYPES, binding, ggml
from ai_assistant.engine.kernels.libllama import llama as lib
from ai_assistant.engine.kernels.workbench import Tensors, Workbench

SYMBOL = "ggml_matmul_of_few_tokens"
I32 = 26
"""GGML_TYPE_I32"""
SCALED = 32
"""Activations that share a scale."""
SUPER = 256
"""The same in llama.cpp's own products with K types."""
ROUNDED = 2.0**-24
"""The most, in parts of itself, that a number changes when it becomes an `f32`."""

KINDS = ["q8_0", "q4_0", "q4_K", "q5_K", "q6_K"]
"""Of which products are ours."""
QUICK = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)

Floats = NDArray[np.float32]
Exact = NDArray[np.float64]
Chosen = NDArray[np.int32]
_pointer, _long, _integer = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int


class _Feature(ctypes.Structure):
    """struct ggml_backend_feature"""

    _fields_ = [("name", ctypes.c_char_p), ("value", ctypes.c_char_p)]


@dataclass(frozen=True)
class Weights:
    """One matrix, as the kernels and as the book have it: (rows, columns)."""

    kind: str
    packed: NDArray[np.uint8]
    values: Exact


def libraries() -> list[Path]:
    """Where the kernels in use have their code for the processor."""
    return list(lib._base_path.glob("*ggml-cpu*"))


def has_symbol(library: Path) -> bool:
    return hasattr(ctypes.CDLL(str(library)), SYMBOL)


def lanes(library: Path) -> int:
    """With how many it computes; 0 if the processor that it was built for is not one for it."""
    return (
        ctypes.c_int.in_dll(ctypes.CDLL(str(library)), SYMBOL).value if has_symbol(library) else 0
    )


def weights(kind: str, rows: int, columns: int, seed: int) -> Weights:
    """Random ones; blocks of 32 differ in size and lie to either side of zero."""
    random = np.random.default_rng(seed)
    blocks = (rows, columns // SCALED, 1)
    numbers = random.standard_normal((rows, columns // SCALED, SCALED)) + random.normal(size=blocks)
    numbers *= np.exp2(random.integers(-3, 4, blocks))
    return quantised(kind, numbers.reshape(rows, columns).astype(np.float32))


def quantised(kind: str, numbers: Floats) -> Weights:
    """The nearest that the type has."""
    rows, columns = numbers.shape
    packed = np.empty((rows, ggml.ggml_row_size(TYPES[kind], columns)), np.uint8)
    ggml.ggml_quantize_chunk(
        TYPES[kind], numbers.ctypes.data, packed.ctypes.data, 0, rows, columns, None
    )
    values = dequantize(packed, GGMLQuantizationType[kind.upper()])
    return Weights(kind, packed, values.astype(np.float64))


def requantised(source: Path, target: Path, ftype: int) -> Path:
    """The model in another type, such as `lib.LLAMA_FTYPE_MOSTLY_Q6_K`, wherever rows are long
    enough."""
    params = lib.llama_model_quantize_default_params()
    params.ftype, params.nthread = ftype, 1
    params.allow_requantize = True
    code = lib.llama_model_quantize(
        str(source).encode(), str(target).encode(), ctypes.byref(params)
    )
    assert code == 0
    return target


def book(matrix: Weights, tokens: Floats) -> Exact:
    """The product, in double precision: (tokens, rows)."""
    return tokens.astype(np.float64) @ matrix.values.T


def check(found: Floats, expected: Exact, allowed: Exact) -> None:
    """Each is off by no more than it may be."""
    worst = (np.abs(found - expected) / np.maximum(allowed, 1e-30)).max()
    assert worst <= 1, f"off by {worst:.3g} times what it may be"


def check_same_bits(found: Floats, expected: Floats) -> None:
    """No bit is another."""
    np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))


class Products:
    """The processor as the kernels' device."""

    def __init__(self) -> None:
        handle = next(one for one in devices.handles() if devices.describe(one).kind == "cpu")
        self._bench = Workbench(handle, 1)
        self.close = self._bench.close
        self.able = {b"AVX2", b"FMA", b"F16C"} <= _features(handle)
        """Whether they were built for a processor that our products are for."""
        self.ours = any(map(lanes, libraries()))

    def product(
        self, matrix: Weights, tokens: Floats, threads: int = 1,
        *, apart: bool = False, arranged: bool = False,
    ) -> Floats:  # fmt: skip
        """Of ([batches,] tokens, columns): ([batches,] tokens, rows); `apart`: the kernels get each
        token as a batch of its own, in a view that is as good as contiguous; `arranged`: weights
        lie as they do when a model is loaded, if the kernels like that better than as in a file."""
        rows, columns = matrix.values.shape
        *batches, count, _ = tokens.shape
        with Tensors(1) as own, Tensors(4) as tensors:
            stored = own.matrix(matrix.kind, columns, rows)
            self._place_weights(own, arranged)
            given = _tensor(tensors, "f32", columns, count, batches[0] if batches else 1)
            taken = given
            if apart:
                turn = _function("ggml_permute", _pointer, *4 * (_integer,))
                taken = turn(tensors.context, given, 0, 2, 1, 3)
            node = ggml.ggml_mul_mat(tensors.context, stored, taken)
            filled = [(stored, matrix.packed), (given, tokens)]
            return self._compute(tensors, node, filled, threads).reshape(*tokens.shape[:-1], rows)

    def mixture(
        self, experts: Sequence[Weights], tokens: Floats, chosen: Chosen, threads: int = 1,
        *, arranged: bool = False,
    ) -> Floats:  # fmt: skip
        """Of (tokens, 1 or as many as each has experts, columns) with its experts (tokens, used):
        (tokens, used, rows)."""
        rows, columns = experts[0].values.shape
        count, used = chosen.shape
        with Tensors(1) as own, Tensors(4) as tensors:
            stored = _tensor(own, experts[0].kind, columns, rows, len(experts))
            self._place_weights(own, arranged)
            given = _tensor(tensors, "f32", columns, tokens.shape[1], count)
            ids = _tensor(tensors, "i32", used, count, 1)
            multiply = _function("ggml_mul_mat_id", *3 * (_pointer,))
            node = multiply(tensors.context, stored, given, ids)
            packed = np.stack([one.packed for one in experts])
            filled = [(stored, packed), (given, tokens), (ids, chosen.astype(np.int32))]
            return self._compute(tensors, node, filled, threads).reshape(count, used, rows)

    def _place_weights(self, own: Tensors, arranged: bool) -> None:
        # The last of the special ones is that for weights arranged anew.
        *special, plain = self._bench.weight_types()
        own.place(special[-1] if arranged and special else plain, weights=True)

    def _compute(
        self, tensors: Tensors, node: int, filled: list[tuple[int, NDArray[Any]]], threads: int
    ) -> Floats:
        if not self._bench.supports(node):
            pytest.skip("the kernels do not take weights of this type that lie so")
        graph = tensors.graph([node])
        tensors.place(self._bench.buffer_type)
        for tensor, numbers in filled:
            numbers = np.ascontiguousarray(numbers)
            ggml.ggml_backend_tensor_set(tensor, numbers.ctypes.data, 0, numbers.nbytes)
        self._bench.use_threads(threads)
        self._bench.compute(graph)
        out = np.empty(ggml.ggml_nbytes(node) // 4, np.float32)
        ggml.ggml_backend_tensor_get(node, out.ctypes.data, 0, out.nbytes)
        return out


def rounding(matrix: Weights, tokens: Floats) -> Exact:
    """How far a product may be off because activations become 8 bits: (tokens, rows).

    `SCALED` of them, x, (`SUPER` for K types) share a scale of max|x|/127 and are rounded to whole
    numbers of it, so each is off by half of it, max|x|/254, at most; the product by the sum, over
    these blocks, of max|x|/254 times the sum of |w|. For types other than K the scale is an f16,
    which adds 2**-11 of it (127 * 2**-25 where it is tiny).
    """
    grain = grain_of(matrix.kind)
    most = _blocks(np.abs(tokens), grain).max(-1).astype(np.float64)
    off = most / 254 * (1 + 1e-4)
    if grain == SCALED:
        off += most * 2**-11 + 127 * 2**-25
    return off @ _blocks(np.abs(matrix.values), grain).sum(-1).T


def grain_of(kind: str) -> int:
    """Activations that share a scale."""
    return SUPER if kind.endswith("_K") else SCALED


def adding(matrix: Weights, tokens: Floats) -> Exact:
    """How far a product may be off because `f32` are added up: (tokens, rows).

    Of each term's size `ROUNDED`, once for each addition (16 products at least make one term) and
    a few times for its scale. Where weights have a minimum, the two parts that make one are larger
    than it: within four times the largest of the block.
    """
    columns = matrix.values.shape[1]
    largest = _blocks(np.abs(matrix.values), SCALED).max(-1)
    numbers = _blocks(np.abs(tokens.astype(np.float64)), SCALED)
    sizes = (numbers.sum(-1) + numbers.max(-1)) @ (4 * largest).T
    return (columns / 16 + 8) * ROUNDED * sizes


def _features(device: int) -> set[bytes]:
    """What the kernels were built to use of the processor."""
    registry = ggml.ggml_backend_dev_backend_reg(device)
    address = ggml.ggml_backend_reg_get_proc_address(registry, b"ggml_backend_get_features")
    found: set[bytes] = set()
    if address:
        for one in ctypes.CFUNCTYPE(ctypes.POINTER(_Feature), _pointer)(address)(registry):
            if not one.name:
                break
            found.add(one.name)
    return found


def _blocks(numbers: Any, size: int) -> Any:
    return numbers.reshape(*numbers.shape[:-1], -1, size)


def _function(name: str, *arguments: Any) -> Callable[..., int]:
    """One that makes a tensor in the context that comes first."""
    function = binding.libggml[name]
    function.restype, function.argtypes = _pointer, [_pointer, *arguments]
    return function


def _tensor(tensors: Tensors, kind: str, *sizes: int) -> int:
    """One of three dimensions."""
    new = _function("ggml_new_tensor_3d", _integer, _long, _long, _long)
    return new(tensors.context, I32 if kind == "i32" else TYPES[kind], *sizes)
