"""Models of a few hundred kilobytes with random weights, one of each class of memory.

`make("tiny", path)` writes one: it loads in milliseconds, and what it says is nonsense that depends
on every token before, so a damaged cache shows. It never ends by itself when decoded greedily.
"""

import os
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np

from benchmarks.vocabularies import CONTROL, add_byte_pairs, add_word_pieces

WIDTH, HEADS, KV_HEADS, HEAD, FEED = 128, 4, 2, 32, 256
LAYERS = 2
EXPERTS = 8
WINDOW = 64
"""Tokens that the sliding-window layer of `tiny-swa` sees."""


class Weights:
    """Random tensors of unit gain, in file order."""

    def __init__(self, writer: gguf.GGUFWriter, seed: int) -> None:
        self.writer = writer
        self._random = np.random.default_rng(seed)

    def matrix(self, name: str, outputs: int, inputs: int, gain: float = 1.0) -> None:
        """`outputs` rows; a unit-variance input gives an output of variance `gain` squared."""
        values = self._random.standard_normal((outputs, inputs), np.float32)
        self.add(f"{name}.weight", values * np.float32(gain / np.sqrt(inputs)))

    def experts(self, name: str, outputs: int, inputs: int) -> None:
        """A matrix for each expert."""
        values = self._random.standard_normal((EXPERTS, outputs, inputs), np.float32)
        self.add(f"{name}.weight", values / np.float32(np.sqrt(inputs)))

    def norm(self, name: str, size: int = WIDTH, value: float = 1.0) -> None:
        """The weights of a norm, all the same."""
        self.add(f"{name}.weight", np.full(size, value, np.float32))

    def bias(self, name: str, size: int = WIDTH, value: float = 0.0) -> None:
        """A constant bias."""
        self.add(f"{name}.bias", np.full(size, value, np.float32))

    def add(self, name: str, values: np.ndarray) -> None:
        """Any tensor."""
        self.writer.add_tensor(name, np.ascontiguousarray(values, np.float32))

    def embedding(self, size: int, scale: float = 1.0) -> None:
        """Token embeddings. The smaller, the more the tokens before matter, and rounding too."""
        self.matrix("token_embd", size, WIDTH, gain=scale * WIDTH**0.5)

    def head(self, size: int) -> None:
        """Logits of deviation 3, and 0 for control tokens: greedy decode never picks those."""
        rows = self._random.standard_normal((size, WIDTH), np.float32) * np.float32(3 / WIDTH**0.5)
        rows[: len(CONTROL)] = 0
        self.add("output.weight", rows)


def make(kind: str, path: Path, *, seed: int = 1, context: int = 4096) -> Path:
    """Write the model; whole or not at all. Returns `path`."""
    architecture, build = KINDS[kind]
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    writer = gguf.GGUFWriter(scratch, architecture)
    writer.add_type("model")
    writer.add_name(kind)
    writer.add_description("Random weights, for tests.")
    writer.add_license("Apache-2.0")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_block_count(LAYERS)
    writer.add_context_length(context)
    writer.add_embedding_length(WIDTH)
    build(Weights(writer, seed), context)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    scratch.replace(path)
    return path


def _dense(weights: Weights, context: int) -> None:
    _attention_shape(weights.writer)
    size = add_byte_pairs(weights.writer)
    weights.embedding(size)
    for layer in range(LAYERS):
        weights.norm(f"blk.{layer}.attn_norm")
        _attention(weights, layer)
        _feed_forward(weights, layer)
    weights.norm("output_norm")
    weights.head(size)


def _sliding(weights: Weights, context: int) -> None:
    """Gemma 3: the first layer sees a window, the second everything."""
    _attention_shape(weights.writer)
    weights.writer.add_key_length(HEAD)
    weights.writer.add_value_length(HEAD)
    weights.writer.add_sliding_window(WINDOW)
    weights.writer.add_sliding_window_pattern([True, False])
    size = add_byte_pairs(weights.writer)
    weights.matrix("token_embd", size, WIDTH)  # the architecture multiplies by √width
    for layer in range(LAYERS):
        weights.norm(f"blk.{layer}.attn_norm")
        _attention(weights, layer)
        weights.norm(f"blk.{layer}.attn_q_norm", HEAD)
        weights.norm(f"blk.{layer}.attn_k_norm", HEAD)
        weights.norm(f"blk.{layer}.post_attention_norm", value=0.5)
        _feed_forward(weights, layer)
        weights.norm(f"blk.{layer}.post_ffw_norm", value=0.5)
    weights.norm("output_norm")
    weights.head(size)


def _mixture(weights: Weights, context: int) -> None:
    """Mixtral: a router chooses two of eight experts for each token."""
    _attention_shape(weights.writer)
    weights.writer.add_expert_count(EXPERTS)
    weights.writer.add_expert_used_count(2)
    size = add_byte_pairs(weights.writer)
    weights.embedding(size)
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        weights.norm(f"{block}.attn_norm")
        _attention(weights, layer)
        weights.norm(f"{block}.ffn_norm")
        weights.matrix(f"{block}.ffn_gate_inp", EXPERTS, WIDTH)
        weights.experts(f"{block}.ffn_gate_exps", FEED, WIDTH)
        weights.experts(f"{block}.ffn_up_exps", FEED, WIDTH)
        weights.experts(f"{block}.ffn_down_exps", WIDTH, FEED)
    weights.norm("output_norm")
    weights.head(size)


def _hybrid(weights: Weights, context: int) -> None:
    """LFM2: a short convolution with a state, then attention."""
    _attention_shape(weights.writer, kv_heads=[0, KV_HEADS])
    weights.writer.add_shortconv_l_cache(3)
    size = add_byte_pairs(weights.writer)
    weights.writer.add_vocab_size(size)
    weights.embedding(size, 0.3)
    weights.norm("blk.0.attn_norm")
    weights.matrix("blk.0.shortconv.in_proj", 3 * WIDTH, WIDTH, gain=1.5)
    weights.matrix("blk.0.shortconv.conv", WIDTH, 3)
    weights.matrix("blk.0.shortconv.out_proj", WIDTH, WIDTH)
    _feed_forward(weights, 0)
    weights.norm("blk.1.attn_norm")
    _attention(weights, 1, gain=1.5)
    weights.norm("blk.1.attn_q_norm", HEAD)
    weights.norm("blk.1.attn_k_norm", HEAD)
    _feed_forward(weights, 1)
    weights.norm("token_embd_norm")  # what this architecture calls its last norm
    weights.head(size)


def _recurrent(weights: Weights, context: int) -> None:
    """Mamba: no attention at all."""
    inner, state, rank, kernel = 2 * WIDTH, 16, 8, 4
    writer = weights.writer
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_ssm_conv_kernel(kernel)
    writer.add_ssm_inner_size(inner)
    writer.add_ssm_state_size(state)
    writer.add_ssm_time_step_rank(rank)
    size = add_byte_pairs(writer)
    weights.embedding(size)
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        weights.norm(f"{block}.attn_norm")
        weights.matrix(f"{block}.ssm_in", 2 * inner, WIDTH, gain=2)
        weights.matrix(f"{block}.ssm_conv1d", inner, kernel)
        weights.bias(f"{block}.ssm_conv1d", inner)
        weights.matrix(f"{block}.ssm_x", rank + 2 * state, inner, gain=2)
        weights.matrix(f"{block}.ssm_dt", inner, rank, gain=0.5)
        weights.bias(f"{block}.ssm_dt", inner, -3.0)  # a step of about 0.05: a memory of dozens
        weights.add(f"{block}.ssm_a", np.tile(-np.arange(1.0, state + 1), (inner, 1)))
        weights.add(f"{block}.ssm_d", np.full(inner, 0.1))
        weights.matrix(f"{block}.ssm_out", WIDTH, inner, gain=4)
    weights.norm("output_norm")
    weights.head(size)


def _embedding(weights: Weights, context: int) -> None:
    """BERT with mean pooling."""
    weights.writer.add_pooling_type(gguf.PoolingType.MEAN)
    _bert(weights, context)


def _reranker(weights: Weights, context: int) -> None:
    """BERT with a head that gives one score for a pair of texts."""
    weights.writer.add_pooling_type(gguf.PoolingType.RANK)
    _bert(weights, context)
    weights.matrix("cls", WIDTH, WIDTH)
    weights.bias("cls")
    weights.matrix("cls.output", 1, WIDTH)
    weights.bias("cls.output", 1)


def _bert(weights: Weights, context: int) -> None:
    writer = weights.writer
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    size = add_word_pieces(writer)
    weights.matrix("token_embd", size, WIDTH, gain=np.sqrt(WIDTH))
    weights.matrix("token_types", 2, WIDTH)
    weights.matrix("position_embd", context, WIDTH)
    weights.norm("token_embd_norm")
    weights.bias("token_embd_norm")
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            weights.matrix(f"{block}.{part}", WIDTH, WIDTH)
        weights.matrix(f"{block}.ffn_up", FEED, WIDTH)
        weights.matrix(f"{block}.ffn_down", WIDTH, FEED)
        for norm in ("attn_output_norm", "layer_output_norm"):
            weights.norm(f"{block}.{norm}")
            weights.bias(f"{block}.{norm}")


def _attention_shape(writer: gguf.GGUFWriter, *, kv_heads: int | list[int] = KV_HEADS) -> None:
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HEAD)
    writer.add_rope_freq_base(10_000)


def _attention(weights: Weights, layer: int, *, gain: float = 1.0) -> None:
    block = f"blk.{layer}"
    weights.matrix(f"{block}.attn_q", HEADS * HEAD, WIDTH, gain)
    weights.matrix(f"{block}.attn_k", KV_HEADS * HEAD, WIDTH, gain)
    weights.matrix(f"{block}.attn_v", KV_HEADS * HEAD, WIDTH, gain)
    weights.matrix(f"{block}.attn_output", WIDTH, HEADS * HEAD)


def _feed_forward(weights: Weights, layer: int) -> None:
    block = f"blk.{layer}"
    weights.norm(f"{block}.ffn_norm")
    weights.matrix(f"{block}.ffn_gate", FEED, WIDTH)
    weights.matrix(f"{block}.ffn_up", FEED, WIDTH)
    weights.matrix(f"{block}.ffn_down", WIDTH, FEED)


KINDS: dict[str, tuple[str, Callable[[Weights, int], None]]] = {
    "tiny": ("llama", _dense),
    "tiny-mixture": ("llama", _mixture),
    "tiny-swa": ("gemma3", _sliding),
    "tiny-recurrent": ("mamba", _recurrent),
    "tiny-hybrid": ("lfm2", _hybrid),
    "tiny-embedding": ("bert", _embedding),
    "tiny-reranker": ("bert", _reranker),
}
