"""The head of a GGUF file: its facts and where its tensors end, read without its arrays.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The `gguf` package reads it too
but builds a Python object for each of 150,000 tokens, seconds per file; a list of models needs
a dozen facts. A torn or foreign file is told here, before the kernels see it.
"""

import math
import struct
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from ai_assistant.protocol.errors import ModelLoadFailed

_SCALARS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9
_MAX_KEY, _MAX_TEXT, _MAX_COUNT = 1 << 16, 1 << 24, 1 << 28

_BLOCKS: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2),
    26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
}  # fmt: skip
"""Of each tensor type: its name, values per block, bytes per block (ggml.h, ggml-common.h)."""


class Span(msgspec.Struct, frozen=True):
    """Where a fact stands in the file: from its key to the end of its value."""

    key: str
    start: int
    value: int
    """Where its value begins, behind the value's type."""
    end: int


class TensorInfo(msgspec.Struct, frozen=True):
    """One tensor of the file."""

    name: str
    shape: tuple[int, ...]
    """Fastest dimension first."""
    kind: int
    """ggml's number of the type."""
    type: str
    offset: int
    """From the start of the data."""
    values: int
    bytes: int


class GgufHeader(msgspec.Struct, frozen=True):
    """Scalar facts, the tensors, and bytes that the whole file must have at least."""

    facts: dict[str, Any]
    spans: tuple[Span, ...]
    tensors: tuple[TensorInfo, ...]
    data_start: int
    expected_bytes: int

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(tensor.values for tensor in self.tensors)

    @property
    def types(self) -> dict[str, int]:
        """Weights per tensor type."""
        counts: dict[str, int] = {}
        for tensor in self.tensors:
            counts[tensor.type] = counts.get(tensor.type, 0) + tensor.values
        return counts

    def of_architecture(self, key: str, default: Any = None) -> Any:
        """A fact whose key begins with the architecture's name; the largest one of an array."""
        value: Any = self.facts.get(f"{self.facts.get('general.architecture', '')}.{key}", default)
        return max(cast("list[Any]", value), default=default) if isinstance(value, list) else value


class _Torn(Exception):
    """The file does not hold what its format promises; the message says what."""


def read_header(path: Path) -> GgufHeader:
    """The header of a GGUF file; raises `ModelLoadFailed` with what is wrong and what to do."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header = _read(file)
    except FileNotFoundError:
        raise ModelLoadFailed(f"There is no file {path}: check the path.") from None
    except (IsADirectoryError, PermissionError) as error:
        raise ModelLoadFailed(f"{path} cannot be read: {error.strerror}.") from None
    except (_Torn, struct.error, UnicodeDecodeError, OverflowError) as error:
        raise ModelLoadFailed(
            f"{path} is not a whole GGUF file ({error}): download or convert it again."
        ) from None
    if size < header.expected_bytes:
        raise ModelLoadFailed(
            f"{path} is cut short: it has {size:,} of {header.expected_bytes:,} bytes. "
            "Download it again."
        )
    return header


def _read(file: BinaryIO) -> GgufHeader:
    if file.read(4) != b"GGUF":
        raise _Torn("it does not begin with GGUF")
    version, tensors, pairs = _take(file, "<IQQ")
    if version not in (2, 3):
        raise _Torn(f"version {version} is not known")
    if tensors > _MAX_COUNT or pairs > _MAX_COUNT:
        raise _Torn("its counts are absurd")
    facts: dict[str, Any] = {}
    spans: list[Span] = []
    for _ in range(pairs):
        start = file.tell()
        key = _text(file, _MAX_KEY)
        (kind,) = _take(file, "<I")
        value = file.tell()
        facts[key] = _value(file, kind)
        spans.append(Span(key, start, value, file.tell()))
    return _with_tensors(file, facts, tuple(spans), tensors)


def _with_tensors(
    file: BinaryIO, facts: dict[str, Any], spans: tuple[Span, ...], count: int
) -> GgufHeader:
    tensors = tuple(_tensor(file) for _ in range(count))
    alignment = max(int(facts.get("general.alignment", 32)), 1)
    start = -(-file.tell() // alignment) * alignment
    end = max((tensor.offset + tensor.bytes for tensor in tensors), default=0)
    return GgufHeader(facts, spans, tensors, start, start + end)


def _tensor(file: BinaryIO) -> TensorInfo:
    name = _text(file, _MAX_KEY)
    (dimensions,) = _take(file, "<I")
    if dimensions > 8:
        raise _Torn("a tensor has too many dimensions")
    shape = _take(file, f"<{dimensions}Q")
    values = math.prod(shape)
    kind, offset = _take(file, "<IQ")
    known, block, size = _BLOCKS.get(kind, (f"type {kind}", 1, 0))
    return TensorInfo(name, shape, kind, known, offset, values, values // block * size)


def _value(file: BinaryIO, kind: int) -> Any:
    if kind in _SCALARS:
        return _take(file, "<" + _SCALARS[kind])[0]
    if kind == _STRING:
        return _text(file, _MAX_TEXT)
    if kind == _ARRAY:
        return _array(file)
    raise _Torn(f"a value has the unknown type {kind}")


def _array(file: BinaryIO) -> Any:
    """Short arrays of numbers as a list; the vocabulary's long ones are passed over."""
    kind, count = _take(file, "<IQ")
    if count > _MAX_COUNT:
        raise _Torn("an array is absurdly long")
    if kind == _STRING:
        for _ in range(count):
            (length,) = _take(file, "<Q")
            if length > _MAX_TEXT:
                raise _Torn("a text is absurdly long")
            file.seek(length, 1)
        return None
    if kind not in _SCALARS:
        raise _Torn("an array of an unknown type")
    if count <= 1024:
        return list(_take(file, f"<{count}{_SCALARS[kind]}"))
    file.seek(struct.calcsize(_SCALARS[kind]) * count, 1)
    return None


def _text(file: BinaryIO, limit: int) -> str:
    (length,) = _take(file, "<Q")
    if length > limit:
        raise _Torn("a text is absurdly long")
    data = file.read(length)
    if len(data) < length:
        raise _Torn("it ends in the middle of its header")
    return data.decode("utf-8", "replace")


def _take(file: BinaryIO, layout: str) -> tuple[Any, ...]:
    size = struct.calcsize(layout)
    data = file.read(size)
    if len(data) < size:
        raise _Torn("it ends in the middle of its header")
    return struct.unpack(layout, data)
