"""A stand-in for a model with fewer layers: its own first ones, or nothing but zeros.

All layers of a kind cost the same, so a few, timed on this machine, say what the whole model will
do, before it is loaded. A file of zeros is sparse and takes no room on the disk, but processors are
up to an eighth quicker with zeros than with other weights.

Mixtures of experts are the exception: which experts a token needs depends on values. So the
stand-in of one has the model's own norms and routers, and its vectors of the first tokens.
"""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ai_assistant.store.anatomy import layer_of
from ai_assistant.store.gguf_header import GgufHeader, Span, TensorInfo, read_header

VARIETY = 512
"""Tokens that have vectors of their own in a mixture's stand-in."""
_ROUTER = ".ffn_gate_inp"
_ALIGNMENT = 32
_PIECE = 16 << 20
_ARRAY = 9
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a number of each type."""


def write_twin(source: Path, target: Path, layers: int, *, filled: bool = False) -> None:
    """Write a stand-in with the first `layers` layers of the model at `source`; `filled`: with
    their own weights instead of zeros.

    Raises `ModelLoadFailed` where the source is no whole header, `OSError` where the disk refuses.
    """
    header = read_header(source)
    total = int(header.of_architecture("block_count", 0) or 0)
    kept = [one for one in header.tensors if (layer_of(one.name) or 0) < layers]
    with source.open("rb") as original:
        facts = [_fact(original, header, span, total, layers) for span in header.spans]
    infos, offsets, size = _tensors(kept)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(kept), len(facts)) + b"".join(facts) + infos
    start = -(-len(head) // _ALIGNMENT) * _ALIGNMENT
    part = target.with_suffix(".part")
    with part.open("wb") as file:
        file.write(head)
        file.truncate(start + size)
        places = [(one, start + at) for one, at in zip(kept, offsets, strict=True)]
        if filled:
            _fill(file, source, header, places, lambda tensor: tensor.bytes)
        elif header.of_architecture("expert_count", 0):
            _fill(file, source, header, places, _telling)
    part.replace(target)


def _fill(
    file: BinaryIO,
    source: Path,
    header: GgufHeader,
    places: list[tuple[TensorInfo, int]],
    wanted: Callable[[TensorInfo], int],
) -> None:
    """So many bytes of each tensor, from its start, as they are in the model."""
    with source.open("rb") as original:
        for tensor, place in places:
            original.seek(header.data_start + tensor.offset)
            file.seek(place)
            left = wanted(tensor)
            while left and (piece := original.read(min(left, _PIECE))):
                file.write(piece)
                left -= len(piece)


def _telling(tensor: TensorInfo) -> int:
    """Bytes of a tensor, from its start, that routing depends on."""
    if len(tensor.shape) == 1 or _ROUTER in tensor.name:
        return tensor.bytes
    if tensor.name.startswith("token_embd.weight"):
        rows = tensor.shape[1]
        return tensor.bytes // rows * min(VARIETY, rows)
    return 0


def _fact(file: BinaryIO, header: GgufHeader, span: Span, total: int, layers: int) -> bytes:
    """One fact as it stands in the file, but for the number of layers and what is said of each."""
    file.seek(span.start)
    raw = file.read(span.end - span.start)
    cut = span.value - span.start
    architecture = header.facts.get("general.architecture", "")
    if span.key == "general.alignment":
        return raw[:cut] + struct.pack("<I", _ALIGNMENT)
    if span.key == f"{architecture}.block_count":
        return raw[:cut] + struct.pack("<I", layers)
    (kind,) = struct.unpack("<I", raw[cut - 4 : cut])
    if kind == _ARRAY and span.key.startswith(f"{architecture}."):
        inner, count = struct.unpack("<IQ", raw[cut : cut + 12])
        if count == total and inner in _SIZES:
            values = raw[cut + 12 : cut + 12 + layers * _SIZES[inner]]
            return raw[:cut] + struct.pack("<IQ", inner, layers) + values
    return raw


def _tensors(kept: list[TensorInfo]) -> tuple[bytes, list[int], int]:
    """The table of tensors, laid out anew; where each begins, and the bytes of their data."""
    table, offsets, end = bytearray(), list[int](), 0
    for tensor in kept:
        name = tensor.name.encode()
        table += struct.pack("<Q", len(name)) + name
        table += struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        table += struct.pack("<IQ", tensor.kind, end)
        offsets.append(end)
        end = -(-(end + tensor.bytes) // _ALIGNMENT) * _ALIGNMENT
    return bytes(table), offsets, end
