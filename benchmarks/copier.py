"""Models that copy, at the cost of real sizes: what speculation is worth where guesses come true.

`python -m benchmarks.copier [0.5b 1b]` makes them in `.bench/models/`.

Random weights say nothing that a guess could hit, and a model that edits texts is not at hand. So
two layers of a shape are built by hand and do what such a model does when it copies (an induction
head): in the first, six heads fetch the last six tokens by their place; in the second, a head looks
for the place where the same six stood before and says what followed. The other layers
compute as much as ever and add nothing, since their last matrices are zero. Some words have another
word to be said for them, by which they are also found: the copy is an edited one, and goes on after
an edit. Where fewer than six tokens match, the best match counts.

A token is a random code of 128 signs. Of the rotations of a head's 64 pairs the first 16 are fast
enough to tell places apart and the others too slow to matter within 8,000 tokens.
"""

import argparse
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType as Type
from gguf.quants import quantize

from benchmarks.blocks import Bytes
from benchmarks.models import SHAPES, Shape, Tensor, tensors, vocabulary_tokens, write
from benchmarks.source import BENCH

CODE = 128
"""Signs of a token's code: the width of a head."""
REACH = 6
"""Tokens that matches compare."""
SHORT = 16
"""Signs of each of them."""
FAST = 16
"""Pairs of a head that tell places."""
BASE = 6e18
"""Of the rotations: pair 16 turns by 0.16 in 8,000 tokens."""
SAID, PAST, CONSTANT = CODE, 2 * CODE, 2 * CODE + 128
"""Where in the stream: the code of what is said for a token, codes of the past, a constant."""
LEVEL = 4.0
"""Of the constant."""
SHARPNESS = 270.0, 17.0
"""Of the attention to places and to matches."""
LOUDNESS = 8.0
"""Of what is said, beside the token before."""
EDITS = {"red": "blue", "old": "new", "small": "large", "open": "closed", "winter": "summer"}

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Made(Tensor):
    """A tensor whose values somebody computes, some rows at a time."""

    fill: Callable[[slice], Matrix] | None = None
    """None: zeros."""

    def make(self, random: np.random.Generator) -> Bytes:
        found = np.zeros(self.byte_shape, np.uint8)
        for begin in range(0, self.rows if self.fill else 0, 8192):
            rows = slice(begin, min(begin + 8192, self.rows))
            found[rows] = quantize(self.fill(rows), self.kind)
        return found


def ensure(size: str) -> Path:
    """The copier that costs as much as the shape of that name."""
    path = BENCH / "models" / f"copy-{size}.gguf"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    wide = CODE // SHAPES[size].head
    shape = replace(
        SHAPES[size],
        architecture="llama",
        heads=SHAPES[size].heads // wide,
        kv_heads=SHAPES[size].kv_heads // wide,
        rope=BASE,
        tied=True,
    )
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(shape, scratch, name=f"copy-{size}", plan=plan(shape))
        return scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def plan(shape: Shape) -> Iterator[Tensor]:
    """The shape's tensors, with those of the first two layers and the embeddings replaced."""
    tokens = vocabulary_tokens(shape)
    stream = CODE * 2 + LEVEL**2
    norms = {
        "blk.0.attn_norm.weight": (stream / shape.width) ** 0.5,
        "blk.1.attn_norm.weight": ((stream + REACH * SHORT) / shape.width) ** 0.5,
        "output_norm.weight": 0.1,
    }
    made = {"token_embd.weight": embedding(shape, tokens)} | _matrices(shape)
    for tensor in tensors(shape, len(tokens)):
        if tensor.name in norms:
            yield replace(tensor, value=norms[tensor.name])
        elif tensor.name in made:
            fill = made[tensor.name]
            yield Made(tensor.name, Type.Q8_0, tensor.rows, tensor.columns, fill=fill)
        elif "attn_output" in tensor.name or "ffn_down" in tensor.name:
            yield Made(tensor.name, tensor.kind, tensor.rows, tensor.columns)
        else:
            yield tensor


def embedding(shape: Shape, tokens: list[str]) -> Callable[[slice], Matrix]:
    """Code, code of what is said for it, constant."""
    random = np.random.default_rng(1)
    codes = random.choice(np.array([-1, 1], np.int8), (len(tokens), CODE))
    said = codes.copy()
    places = {token: i for i, token in enumerate(tokens)}
    for word, other in EDITS.items():
        for space in ("Ġ", ""):  # as byte pairs write a space
            said[places[space + word]] = codes[places[space + other]]

    def fill(rows: slice) -> Matrix:
        values = np.zeros((rows.stop - rows.start, shape.width), np.float32)
        values[:, :CODE], values[:, SAID : SAID + CODE] = codes[rows], said[rows]
        values[:, CONSTANT] = LEVEL
        return values

    return fill


def _matrices(shape: Shape) -> dict[str, Callable[[slice], Matrix]]:
    kv, width = shape.kv_heads * CODE, shape.width
    first = {name: np.zeros((width, width), np.float32) for name in ("q", "output")}
    first |= {name: np.zeros((kv, width), np.float32) for name in ("k", "v")}
    second = {name: matrix.copy() for name, matrix in first.items()}
    _fetch_past(first)
    _say_again(second)
    return {
        f"blk.{layer}.attn_{name}.weight": matrix.__getitem__
        for layer, matrices in enumerate((first, second))
        for name, matrix in matrices.items()
    }


def _fetch_past(layer: dict[str, Matrix]) -> None:
    """Head h attends to h + 1 tokens before and brings the beginning of its code."""
    turns = BASE ** (-np.arange(FAST) / (CODE // 2))
    for row in range(0, len(layer["k"]), CODE):
        layer["k"][row : row + 2 * FAST : 2, CONSTANT] = 1 / LEVEL
        layer["v"][range(row, row + CODE), range(SAID, SAID + CODE)] = 1
    for head in range(REACH):
        query = layer["q"][head * CODE : (head + 1) * CODE, CONSTANT]
        query[0 : 2 * FAST : 2] = SHARPNESS[0] / LEVEL * np.cos((head + 1) * turns)
        query[1 : 2 * FAST : 2] = -SHARPNESS[0] / LEVEL * np.sin((head + 1) * turns)
        signs = np.arange(SHORT)
        layer["output"][PAST + head * SHORT + signs, head * CODE + signs] = 1


def _say_again(layer: dict[str, Matrix]) -> None:
    """The last tokens look for a token that had the same before it, and say that one."""
    signs = np.arange(SHORT)
    for n in range(REACH):
        asked = PAST + (n - 1) * SHORT if n else SAID
        row = 2 * FAST + n * SHORT + signs
        layer["q"][row, asked + signs] = SHARPNESS[1]
        layer["k"][row, PAST + n * SHORT + signs] = 1
    layer["v"][range(CODE), range(SAID, SAID + CODE)] = 1
    layer["output"][range(CODE), range(CODE)] = LOUDNESS


def edited(text: str) -> str:
    """What a copier makes of it."""
    return re.sub(r"\w+", lambda word: EDITS.get(word.group(), word.group()), text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", default=["0.5b", "1b"])
    for size in parser.parse_args().sizes:
        path = ensure(size)
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
