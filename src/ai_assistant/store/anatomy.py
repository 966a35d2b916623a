"""A model's parts with their sizes, read from its file's header."""

import re
from collections import defaultdict
from pathlib import Path

from ai_assistant.protocol.layout import LayerPart, ModelAnatomy
from ai_assistant.store.gguf_header import GgufHeader, TensorInfo, read_header

BLOCK = "blk."
_FEED = re.compile(r"\.ffn_(up|down|gate|gate_up)(_(ch|)exps)?\.")
"""As in `engine.kernels.placement`."""


def read_anatomy(path: Path) -> ModelAnatomy:
    """Raises `ModelLoadFailed` as `read_header` does."""
    return anatomy_of(read_header(path))


def anatomy_of(header: GgufHeader) -> ModelAnatomy:
    """The same of a header that was read."""
    layers: defaultdict[int, list[TensorInfo]] = defaultdict(list)
    outside: list[TensorInfo] = []
    for tensor in header.tensors:
        number = layer_of(tensor.name)
        (outside if number is None else layers[number]).append(tensor)
    return ModelAnatomy(
        architecture=str(header.facts.get("general.architecture", "unknown")),
        width=int(header.of_architecture("embedding_length", 0) or 0),
        heads=int(header.of_architecture("attention.head_count", 0) or 0),
        experts=int(header.of_architecture("expert_count", 0) or 0),
        experts_used=int(header.of_architecture("expert_used_count", 0) or 0),
        layers=tuple(_part(layers[number]) for number in sorted(layers)),
        embedding=_part([one for one in outside if one.name.startswith("token_embd")]),
        output=_part([one for one in outside if not one.name.startswith("token_embd")]),
        tied=not any(one.name.startswith("output.") for one in outside),
        kv_bytes_per_token_layer=kv_bytes(header),
        context=int(header.of_architecture("context_length", 0) or 0),
        feed=_feed_width(header),
        vocabulary=max(
            (_rows(one) for one in outside if one.name == "token_embd.weight"), default=0
        ),
    )


def _feed_width(header: GgufHeader) -> int:
    """Values between the two halves of a feed-forward part, for one token."""
    used = int(header.of_architecture("expert_used_count", 0) or 0)
    each = int(header.of_architecture("expert_feed_forward_length", 0) or 0)
    return max(int(header.of_architecture("feed_forward_length", 0) or 0), used * each)


def _rows(tensor: TensorInfo) -> int:
    return tensor.shape[1] if len(tensor.shape) > 1 else 0


def layer_of(name: str) -> int | None:
    """The number of the layer that a tensor belongs to; None for one outside all layers."""
    if not name.startswith(BLOCK):
        return None
    number = name[len(BLOCK) :].split(".", 1)[0]
    return int(number) if number.isdigit() else None


def _part(tensors: list[TensorInfo]) -> LayerPart:
    types: defaultdict[str, int] = defaultdict(int)
    experts = feeds = 0
    for tensor in tensors:
        types[tensor.type] += tensor.bytes
        experts += tensor.bytes if "_exps" in tensor.name else 0
        feeds += tensor.bytes if _FEED.search(tensor.name) else 0
    values = sum(tensor.values for tensor in tensors)
    return LayerPart(
        bytes=sum(types.values()), experts=experts, feeds=feeds, values=values, types=dict(types)
    )


def kv_bytes(header: GgufHeader) -> int:
    """Of one token in one layer, with a 16-bit cache; of the layer with the most."""
    heads = int(header.of_architecture("attention.head_count", 0) or 0)
    kv_heads = int(header.of_architecture("attention.head_count_kv", heads) or 0)
    head = int(header.of_architecture("embedding_length", 0) or 0) // heads if heads else 0
    key = int(header.of_architecture("attention.key_length", head) or 0)
    value = int(header.of_architecture("attention.value_length", head) or 0)
    return kv_heads * (key + value) * 2
