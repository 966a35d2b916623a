"""A model and draft models for it: one that is always right, one that is never.

`python -m benchmarks.draft_pair` makes them in `.bench/models/`.

The large one is TinyLlama's shape (1.1 billion weights, 22 layers, 32,000 tokens), random, and all
layers but the first add nothing, since their last matrices are zero: they compute as much as ever.
So its first layer alone says the same, for a tenth of the bytes: that is the draft which is right.
The hopeless one is of the same size, with other random weights. A trained pair lies between: 50 to
90 % of its tokens are right.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import gguf
import numpy as np

from benchmarks.blocks import Bytes
from benchmarks.copier import Made
from benchmarks.models import MISTRAL_TEMPLATE, Shape, Tensor, tensors, vocabulary_tokens, write
from benchmarks.source import BENCH

LARGE = Shape(
    "llama", "llama-spm", 22, 2048, 32, 4, 5632, 2048, 1e4, "Q4_K_M", False, MISTRAL_TEMPLATE
)
SMALL = replace(LARGE, layers=1)


@dataclass(frozen=True)
class Copied(Tensor):
    """A tensor of another file."""

    source: Path = Path()

    def make(self, random: np.random.Generator) -> Bytes:
        reader = gguf.GGUFReader(self.source)
        found = next(one for one in reader.tensors if one.name == self.name)
        return np.array(found.data).view(np.uint8)


def large() -> Path:
    """The model to be helped."""
    return _made("pair-large", LARGE, _large(len(vocabulary_tokens(LARGE))))


def right() -> Path:
    """The draft that says the same."""
    source = large()
    plan = (
        Copied(one.name, one.kind, one.rows, one.columns, source=source)
        for one in _small(len(vocabulary_tokens(LARGE)))
    )
    return _made("pair-right", SMALL, plan)


def hopeless() -> Path:
    """The draft that says something else."""
    return _made("pair-hopeless", SMALL, _small(len(vocabulary_tokens(LARGE))), seed=2)


def _large(vocabulary: int) -> Iterator[Tensor]:
    for one in tensors(LARGE, vocabulary):
        last = "attn_output" in one.name or "ffn_down" in one.name
        if last and not one.name.startswith("blk.0."):
            yield Made(one.name, one.kind, one.rows, one.columns)
        else:
            yield one


def _small(vocabulary: int) -> Iterator[Tensor]:
    """The tensors of the large one that are outside its layers or in the first."""
    for one in tensors(LARGE, vocabulary):
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
    for path in (large(), right(), hopeless()):
        print(f"{path}, {path.stat().st_size:,} bytes")
