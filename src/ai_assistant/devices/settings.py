"""What the owner may set about how a model is laid over the machine. 0 means: decide for me."""

from typing import Literal

import msgspec

KvType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Overrides of the plan."""

    context: int = 0
    """Tokens that one conversation may have."""
    cells: int = 0
    """Tokens of KV cache in all conversations."""
    slots: int = 0
    """Sequences that run at once."""
    chunk: int = 0
    """Tokens of a prompt computed in one step."""
    threads: int = 0
    gpu_layers: int = -1
    """-1: all that a GPU can take."""
    kv_type: KvType = "f16"
