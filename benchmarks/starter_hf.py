"""The starter model as a folder that vLLM reads, made from its GGUF file.

`python -m benchmarks.starter_hf [TARGET]`; the opposite of `starter_convert`, from weights of 8
bits to bfloat16.
"""

import argparse
import json
import shutil
import struct
import tempfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.quants import dequantize

from benchmarks.models import STARTER
from benchmarks.source import BENCH
from benchmarks.starter_convert import NAMES, Floats

TARGET = BENCH / "starter-hf"
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen 2 cuts text before it is encoded."""
_TORCH_NAMES = {short: long for long, short in NAMES.items()}


def ensure(target: Path = TARGET) -> Path:
    """The folder; written once, whole or not at all."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            folder = Path(scratch) / "model"
            folder.mkdir()
            write(gguf.GGUFReader(STARTER), folder)
            shutil.move(folder, target)
    return target


def write(model: gguf.GGUFReader, folder: Path) -> None:
    """Configuration, tokenizer and weights."""
    facts = {name: field.contents() for name, field in model.fields.items()}
    files = {
        "config.json": _config(facts),
        "tokenizer.json": _tokenizer(facts),
        "tokenizer_config.json": _tokenizer_config(facts),
        "generation_config.json": {"eos_token_id": facts["tokenizer.ggml.eos_token_id"]},
    }
    for name, tree in files.items():
        (folder / name).write_text(json.dumps(tree, ensure_ascii=False))
    heads = (facts["llama.attention.head_count"], facts["llama.attention.head_count_kv"])
    tensors = {torch_name(one.name): _plain(one, heads) for one in model.tensors}
    write_safetensors(folder / "model.safetensors", tensors)


def _config(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": facts["llama.vocab_size"],
        "hidden_size": facts["llama.embedding_length"],
        "intermediate_size": facts["llama.feed_forward_length"],
        "num_hidden_layers": facts["llama.block_count"],
        "num_attention_heads": facts["llama.attention.head_count"],
        "num_key_value_heads": facts["llama.attention.head_count_kv"],
        "head_dim": facts["llama.rope.dimension_count"],
        "max_position_embeddings": facts["llama.context_length"],
        "rms_norm_eps": facts["llama.attention.layer_norm_rms_epsilon"],
        "rope_theta": facts["llama.rope.freq_base"],
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": facts["tokenizer.ggml.eos_token_id"],
        "pad_token_id": facts["tokenizer.ggml.padding_token_id"],
        "torch_dtype": "bfloat16",
    }


def _tokenizer(facts: dict[str, Any]) -> dict[str, Any]:
    tokens: list[str] = facts["tokenizer.ggml.tokens"]
    special = [
        index
        for index, kind in enumerate(facts["tokenizer.ggml.token_type"])
        if kind == gguf.TokenType.CONTROL
    ]
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": False,
    }
    split = {"type": "Split", "pattern": {"Regex": _SPLIT}, "behavior": "Isolated", "invert": False}
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": index, "content": tokens[index], "special": True, "normalized": False,
             "single_word": False, "lstrip": False, "rstrip": False}
            for index in special
        ],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": facts["tokenizer.ggml.merges"],
        },
    }  # fmt: skip


def _tokenizer_config(facts: dict[str, Any]) -> dict[str, Any]:
    tokens: list[str] = facts["tokenizer.ggml.tokens"]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": tokens[facts["tokenizer.ggml.eos_token_id"]],
        "pad_token": tokens[facts["tokenizer.ggml.padding_token_id"]],
        "chat_template": facts["tokenizer.chat_template"],
        "model_max_length": facts["llama.context_length"],
        "clean_up_tokenization_spaces": False,
    }


def torch_name(name: str) -> str:
    """`blk.3.ffn_up.weight` is `model.layers.3.mlp.up_proj.weight`."""
    stem = name.removesuffix(".weight")
    if stem.startswith("blk."):
        _, layer, part = stem.split(".")
        return f"model.layers.{layer}.{_TORCH_NAMES[part]}.weight"
    return f"{_TORCH_NAMES[stem]}.weight"


def _plain(tensor: gguf.ReaderTensor, heads: tuple[int, int]) -> Floats:
    """Its values, with query and key rows in halves again."""
    values: Floats = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
    count = {"attn_q": heads[0], "attn_k": heads[1]}.get(tensor.name.split(".")[-2])
    if count is None:
        return values
    rows = values.reshape(count, -1, 2, values.shape[1]).swapaxes(1, 2)
    return np.ascontiguousarray(rows.reshape(values.shape))


def write_safetensors(path: Path, tensors: dict[str, Floats]) -> None:
    """As bfloat16: the upper half of each number, rounded."""
    header: dict[str, Any] = {}
    blobs: list[bytes] = []
    place = 0
    for name, values in tensors.items():
        bits = np.ascontiguousarray(values).view(np.uint32)
        blobs.append(((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes())
        end = place + len(blobs[-1])
        header[name] = {"dtype": "BF16", "shape": list(values.shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.writelines(blobs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path, nargs="?", default=TARGET)
    print(ensure(parser.parse_args().target))
