"""Models of real sizes with real tokenizers and random weights: what speed costs, not sense.

`python -m benchmarks.models [SHAPE …]` makes them in `.bench/models/`; `ensure(shape)` makes one
when it is missing and returns its path. `starter` is the model that ships.
"""

import argparse
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

from benchmarks import tiny
from benchmarks.blocks import Bytes, random_blocks
from benchmarks.report import ROOT
from benchmarks.source import BENCH, ensure_source

STARTER = ROOT / "src" / "ai_assistant" / "store" / "starter" / "starter.gguf"
LLAMA_3_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' }}"
    "{{ m['content'] + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
MISTRAL_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'assistant' %}{{ m['content'] + eos_token }}"
    "{% else %}{{ '[INST] ' + m['content'] + ' [/INST]' }}{% endif %}{% endfor %}"
)


@dataclass(frozen=True)
class Shape:
    """A Llama-like model's sizes."""

    architecture: str
    vocabulary: str
    """One of the kernels' own test vocabularies."""
    layers: int
    width: int
    heads: int
    kv_heads: int
    feed: int
    context: int
    rope: float
    quantisation: str
    tied: bool = False
    template: str | None = None
    """None: the vocabulary brings one."""
    experts: int = 0
    """Of a mixture, in each layer; `feed` is one expert's."""
    experts_used: int = 0

    @property
    def head(self) -> int:
        """Width of one head."""
        return self.width // self.heads


SHAPES = {
    "0.5b": Shape(  # Qwen2.5-0.5B
        "qwen2", "qwen2", 24, 896, 14, 2, 4864, 32_768, 1e6, "Q8_0", tied=True
    ),
    "1b": Shape(  # Llama-3.2-1B
        "llama", "llama-bpe", 16, 2048, 32, 8, 8192, 131_072, 5e5, "Q4_K_M", True, LLAMA_3_TEMPLATE
    ),
    "7b": Shape(  # Mistral-7B
        "llama",
        "llama-spm",
        32,
        4096,
        32,
        8,
        14_336,
        32_768,
        1e4,
        "Q4_K_M",
        False,
        MISTRAL_TEMPLATE,
    ),
    "moe": Shape(  # 1.3 billion weights, of which a token needs a quarter
        "llama",
        "llama-spm",
        12,
        1024,
        16,
        4,
        1024,
        32_768,
        1e4,
        "Q4_K_M",
        False,
        MISTRAL_TEMPLATE,
        32,
        4,
    ),
    "moe-7b": Shape(  # OLMoE's size: 7 billion weights, of which a token needs one
        "llama",
        "llama-spm",
        16,
        2048,
        16,
        16,
        1024,
        32_768,
        1e4,
        "Q4_K_M",
        False,
        MISTRAL_TEMPLATE,
        64,
        8,
    ),
    "tiny-32k": Shape(  # a large vocabulary on almost no layers: what sampling costs
        "llama", "llama-spm", 2, 256, 4, 2, 512, 8192, 1e4, "Q8_0", False, MISTRAL_TEMPLATE
    ),
}


def ensure(shape: str) -> Path:
    """The path of a model, made now if it is not there."""
    if shape == "starter":
        return STARTER
    path = BENCH / "models" / f"{shape}.gguf"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    if shape in tiny.KINDS:
        return tiny.make(shape, path)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(SHAPES[shape], scratch, name=f"random-{shape}")
        return scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def context_length(path: Path) -> int:
    """Tokens of context that the model was made for."""
    fields = gguf.GGUFReader(path).fields
    architecture = fields["general.architecture"].contents()
    return int(fields[f"{architecture}.context_length"].contents())


def write(
    shape: Shape, path: Path, *, name: str, seed: int = 1, plan: Iterable["Tensor"] | None = None
) -> None:
    """One tensor after the other to disk; no more than one is in memory."""
    writer = gguf.GGUFWriter(path, shape.architecture)
    _add_about(writer, shape, name)
    size = _copy_vocabulary(writer, shape)
    plan = list(tensors(shape, size) if plan is None else plan)
    for tensor in plan:
        writer.add_tensor_info(
            tensor.name, tensor.byte_shape, np.dtype(np.uint8), tensor.size, raw_dtype=tensor.kind
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    random = np.random.Generator(np.random.SFC64(seed))
    for tensor in plan:
        writer.write_tensor_data(tensor.make(random))
    writer.close()


@dataclass(frozen=True)
class Tensor:
    """A tensor to be written. A float one is a vector of `value`s, or random where it has rows."""

    name: str
    kind: Type
    rows: int
    columns: int
    deviation: float = 0.0
    value: float = 0.0
    stack: int = 1
    """Matrices of this size, one for each expert."""

    @property
    def byte_shape(self) -> tuple[int, ...]:
        values, size = gguf.GGML_QUANT_SIZES[self.kind]
        row = self.columns // values * size
        shape = (row,) if self.kind == Type.F32 and self.rows == 1 else (self.rows, row)
        return (self.stack, *shape) if self.stack > 1 else shape

    @property
    def size(self) -> int:
        return int(np.prod(self.byte_shape))

    def make(self, random: np.random.Generator) -> Bytes:
        """Its bytes."""
        if self.kind == Type.F32 and self.rows > 1:
            values = random.standard_normal((self.rows, self.columns), np.float32)
            return (values * np.float32(self.deviation)).view(np.uint8)
        if self.kind == Type.F32:
            return np.full(self.columns, self.value, np.float32).view(np.uint8)
        rows = self.stack * self.rows
        return random_blocks(self.kind, rows, self.columns, self.deviation, random)


def tensors(shape: Shape, vocabulary: int) -> Iterator[Tensor]:
    """All tensors, in file order."""
    width, logits = shape.width, 3 / shape.width**0.5  # the deviation of logits is 3
    k_quants = shape.quantisation == "Q4_K_M"
    low, high = (Type.Q4_K, Type.Q6_K) if k_quants else (Type.Q8_0, Type.Q8_0)
    # Trained mixtures spread their tokens over all experts. Random layers make tokens more alike,
    # one after the other, unless each token's own vector outweighs what they add.
    own = 1.0 if shape.experts else logits
    yield Tensor("token_embd.weight", high if shape.tied else low, vocabulary, width, own)
    for layer in range(shape.layers):
        yield from _layer(shape, layer, low, high if _more_bits(layer, shape.layers) else low)
    yield _vector("output_norm.weight", width, 1)
    if not shape.tied:
        yield Tensor("output.weight", high, vocabulary, width, logits)


def _layer(shape: Shape, layer: int, low: Type, mixed: Type) -> Iterator[Tensor]:
    width, kv = shape.width, shape.kv_heads * shape.head

    def matrix(name: str, kind: Type, rows: int, columns: int) -> Tensor:
        return Tensor(f"blk.{layer}.{name}.weight", kind, rows, columns, columns**-0.5)

    yield _vector(f"blk.{layer}.attn_norm.weight", width, 1)
    yield matrix("attn_q", low, width, width)
    yield matrix("attn_k", low, kv, width)
    yield matrix("attn_v", mixed, kv, width)
    if shape.architecture == "qwen2":
        for name, size in (("q", width), ("k", kv), ("v", kv)):
            yield _vector(f"blk.{layer}.attn_{name}.bias", size, 0)
    yield matrix("attn_output", low, width, width)
    yield _vector(f"blk.{layer}.ffn_norm.weight", width, 1)
    if not shape.experts:
        yield matrix("ffn_gate", low, shape.feed, width)
        yield matrix("ffn_up", low, shape.feed, width)
        yield matrix("ffn_down", mixed, width, shape.feed)
        return
    yield matrix("ffn_gate_inp", Type.F32, shape.experts, width)
    for name, kind, rows, columns in (
        ("gate", low, shape.feed, width),
        ("up", low, shape.feed, width),
        ("down", mixed, width, shape.feed),
    ):
        name = f"blk.{layer}.ffn_{name}_exps.weight"
        yield Tensor(name, kind, rows, columns, columns**-0.5, stack=shape.experts)


def _vector(name: str, size: int, value: float) -> Tensor:
    return Tensor(name, Type.F32, 1, size, value=value)


def _more_bits(layer: int, layers: int) -> bool:
    """Where llama.cpp's Q4_K_M puts six bits: the first and last eighth, and each third layer."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * eighth or (layer - eighth) % 3 == 2


def _add_about(writer: gguf.GGUFWriter, shape: Shape, name: str) -> None:
    mostly = {"Q8_0": "MOSTLY_Q8_0", "Q4_K_M": "MOSTLY_Q4_K_M"}[shape.quantisation]
    writer.add_type("model")
    writer.add_name(name)
    writer.add_description("Random weights, for benchmarks.")
    writer.add_file_type(gguf.LlamaFileType[mostly])
    writer.add_quantization_version(2)
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.feed)
    if shape.experts:
        writer.add_expert_count(shape.experts)
        writer.add_expert_used_count(shape.experts_used)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.head)
    writer.add_rope_freq_base(shape.rope)
    writer.add_layer_norm_rms_eps(1e-5)


def _copy_vocabulary(writer: gguf.GGUFWriter, shape: Shape) -> int:
    reader = gguf.GGUFReader(_vocabulary(shape))
    for key, field in reader.fields.items():
        if key.startswith("tokenizer."):
            element = field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(key, field.contents(), field.types[0], element)
    if shape.template:
        writer.add_chat_template(shape.template)
    size = len(reader.fields["tokenizer.ggml.tokens"].data)
    writer.add_vocab_size(size)
    return size


def vocabulary_tokens(shape: Shape) -> list[str]:
    """Its tokens as the file writes them."""
    reader = gguf.GGUFReader(_vocabulary(shape))
    return reader.fields["tokenizer.ggml.tokens"].contents()


def _vocabulary(shape: Shape) -> Path:
    return ensure_source() / "models" / f"ggml-vocab-{shape.vocabulary}.gguf"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    known = [*tiny.KINDS, *SHAPES]
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=", ".join(known))
    for shape in parser.parse_args().shapes or [shape for shape in known if shape != "7b"]:
        if shape not in known:
            parser.error(f"no shape {shape!r}; there are {', '.join(known)}")
        start = time.perf_counter()
        path = ensure(shape)
        took = time.perf_counter() - start
        print(f"{shape}: {path.relative_to(ROOT)}, {path.stat().st_size:,} bytes, {took:.1f} s")


if __name__ == "__main__":
    main()
