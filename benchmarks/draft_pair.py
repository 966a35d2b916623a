"""A model and draft models for it: one that is always right, one that is never.

`python -m benchmarks.draft_pair [1b|7b]` makes them in `.bench/models/`.

The large one is TinyLlama's shape (1.1 billion weights, 22 layers, 32,000 tokens), random, and all
layers but the first add nothing, since their last matrices are zero: they compute as much as ever.
So its first layer alone says the same, for a tenth of the bytes: that is the draft which is right.
The hopeless one is of the same size, with other random weights. A trained pair lies between: 50 to
90 % of its tokens are right.
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import gguf
import numpy as np

from benchmarks.blocks import Bytes
from benchmarks.copier import Made
from benchmarks.models import (
    MISTRAL_TEMPLATE,
    SHAPES,
    Shape,
    Tensor,
    tensors,
    vocabulary_tokens,
    write,
)
from benchmarks.source import BENCH

LARGE = Shape(
    "llama", "llama-spm", 22, 2048, 32, 4, 5632, 2048, 1e4, "Q4_K_M", False, MISTRAL_TEMPLATE
)
SIZES = {"1b": ("pair", LARGE), "7b": ("pair-7b", SHAPES["7b"])}
"""Names and shapes: the one above, and one for a GPU."""


@dataclass(frozen=True)
class Copied(Tensor):
    """A tensor of another file."""

    source: Path = Path()

    def make(self, random: np.random.Generator) -> Bytes:
        reader = gguf.GGUFReader(self.source)
        found = next(one for one in reader.tensors if one.name == self.name)
        return np.array(found.data).view(np.uint8)


def large(size: str = "1b") -> Path:
    """The model to be helped."""
    name, shape = SIZES[size]
    return _made(f"{name}-large", shape, _large(shape))


def right(size: str = "1b") -> Path:
    """The draft that says the same."""
    name, shape = SIZES[size]
    source = large(size)
    plan = (
        Copied(one.name, one.kind, one.rows, one.columns, source=source) for one in _small(shape)
    )
    return _made(f"{name}-right", replace(shape, layers=1), plan)


def hopeless(size: str = "1b") -> Path:
    """The draft that says something else."""
    name, shape = SIZES[size]
    return _made(f"{name}-hopeless", replace(shape, layers=1), _small(shape), seed=2)


def _large(shape: Shape) -> Iterator[Tensor]:
    for one in tensors(shape, len(vocabulary_tokens(shape))):
        last = "attn_output" in one.name or "ffn_down" in one.name
        if last and not one.name.startswith("blk.0."):
            yield Made(one.name, one.kind, one.rows, one.columns)
        else:
            yield one


def _small(shape: Shape) -> Iterator[Tensor]:
    """The tensors of the large one that are outside its layers or in the first."""
    for one in tensors(shape, len(vocabulary_tokens(shape))):
        if not one.name.startswith("blk.") or one.name.startswith("blk.0."):
            yield one


def _made(name: str, shape: Shape, plan: Iterator[Tensor], seed: int = 1) -> Path:
    path = BENCH / "models" / f"{name}.gguf"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(shape, scratch, name=name, seed=seed, plan=plan)
        return scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


if __name__ == "__main__":
    for wanted in sys.argv[1:] or ("1b",):
        for path in (large(wanted), right(wanted), hopeless(wanted)):
            print(f"{path}, {path.stat().st_size:,} bytes")
