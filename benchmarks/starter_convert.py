"""Make the starter model's file from its training output.

`python -m benchmarks.starter_convert CHECKPOINT TARGET [--type q8_0]`, where CHECKPOINT is a
directory with model.safetensors, tokenizer.json and the three configs of a Llama.
"""

import argparse
import json
import re
import struct
import tempfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from ai_assistant.engine.kernels.libllama import llama as lib
from benchmarks.libllama import quantise

Floats = npt.NDArray[np.float32]
TYPES = {
    "f32": lib.LLAMA_FTYPE_ALL_F32,
    "f16": lib.LLAMA_FTYPE_MOSTLY_F16,
    "q8_0": lib.LLAMA_FTYPE_MOSTLY_Q8_0,
    "q6_k": lib.LLAMA_FTYPE_MOSTLY_Q6_K,
    "q5_k_m": lib.LLAMA_FTYPE_MOSTLY_Q5_K_M,
    "q4_k_m": lib.LLAMA_FTYPE_MOSTLY_Q4_K_M,
}
DESCRIPTION = (
    "A 38-million-parameter Llama, trained from scratch for ai-assistant, so that the first run "
    "works offline. It greets, edits short texts, tells tiny stories and answers a few common "
    "questions, in English and some Chinese. It knows little and invents facts."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--type", choices=TYPES, default="q8_0")
    args = parser.parse_args()
    convert(args.checkpoint, args.target, args.type)


def convert(checkpoint: Path, target: Path, kind: str) -> None:
    """Write `target`; whole or not at all."""
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        exact = Path(scratch) / "exact.gguf"
        write_exact(checkpoint, exact)
        result = exact
        if kind != "f32":
            result = Path(scratch) / "result.gguf"
            quantise(exact, result, TYPES[kind])
        result.rename(target)


def write_exact(checkpoint: Path, target: Path) -> None:
    """The checkpoint in 32 bits: bfloat16 fits into them without loss."""
    config = json.loads((checkpoint / "config.json").read_text())
    writer = gguf.GGUFWriter(target, "llama")
    _add_about(writer)
    _add_shape(writer, config)
    _add_sampling(writer, json.loads((checkpoint / "generation_config.json").read_text()))
    _add_tokenizer(writer, checkpoint)
    for name, tensor in read_safetensors(checkpoint / "model.safetensors").items():
        writer.add_tensor(gguf_name(name), arranged(name, tensor, config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_about(writer: gguf.GGUFWriter) -> None:
    writer.add_type("model")
    writer.add_name("Ember")
    writer.add_version("1")
    writer.add_size_label("38M")
    writer.add_description(DESCRIPTION)
    writer.add_license("cc-by-sa-4.0")
    writer.add_license_link("https://creativecommons.org/licenses/by-sa/4.0/")
    writer.add_languages(["en", "zh"])


def _add_shape(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def _add_sampling(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    writer.add_float32("general.sampling.temp", config["temperature"])
    writer.add_float32("general.sampling.top_p", config["top_p"])
    writer.add_float32("general.sampling.penalty_repeat", config["repetition_penalty"])
    writer.add_int32("general.sampling.penalty_last_n", -1)  # over all tokens, as in training


def _add_tokenizer(writer: gguf.GGUFWriter, checkpoint: Path) -> None:
    tokenizer = json.loads((checkpoint / "tokenizer.json").read_text())
    config = json.loads((checkpoint / "tokenizer_config.json").read_text())
    special = {token["content"] for token in tokenizer["added_tokens"]}
    vocabulary = sorted(tokenizer["model"]["vocab"].items(), key=lambda item: item[1])
    tokens = [text for text, _ in vocabulary]
    kinds = [gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t in tokens]
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(tokens.index(config["eos_token"]))
    writer.add_eot_token_id(tokens.index(config["eos_token"]))
    writer.add_pad_token_id(tokens.index(config["pad_token"]))
    writer.add_add_bos_token(False)
    writer.add_chat_template(config["chat_template"])


def read_safetensors(path: Path) -> dict[str, Floats]:
    """The tensors of a bfloat16 file, as float32."""
    raw = np.fromfile(path, np.uint8)
    (length,) = struct.unpack("<Q", raw[:8].tobytes())
    header = json.loads(raw[8 : 8 + length].tobytes())
    header.pop("__metadata__", None)
    tensors: dict[str, Floats] = {}
    for name, entry in header.items():
        if entry["dtype"] != "BF16":
            raise ValueError(f"{name} is {entry['dtype']}, not BF16")
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        wide = raw[start:end].view(np.uint16).astype(np.uint32) << 16
        tensors[name] = wide.view(np.float32).reshape(entry["shape"])
    return tensors


NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name: str) -> str:
    """`model.layers.3.mlp.up_proj.weight` is `blk.3.ffn_up.weight`."""
    stem = name.removesuffix(".weight")
    if match := re.fullmatch(r"model\.layers\.(\d+)\.(.+)", stem):
        return f"blk.{match[1]}.{NAMES[match[2]]}.weight"
    return f"{NAMES[stem]}.weight"


def arranged(name: str, tensor: Floats, config: dict[str, Any]) -> Floats:
    """Query and key rows in the order of llama.cpp's RoPE: pairs side by side, not in halves."""
    if "q_proj" in name:
        heads = config["num_attention_heads"]
    elif "k_proj" in name:
        heads = config["num_key_value_heads"]
    else:
        return tensor
    rows = tensor.reshape(heads, 2, -1, tensor.shape[1]).swapaxes(1, 2)
    return np.ascontiguousarray(rows.reshape(tensor.shape))


if __name__ == "__main__":
    main()
