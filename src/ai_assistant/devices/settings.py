"""What the owner may set about how a model is laid over the machine. 0 means: decide for me."""

from typing import Literal

import msgspec

from ai_assistant.devices.layout.search import Workload

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
    """A fixed number; 0 follows the machine."""
    speculation: bool = True
    """Guess tokens ahead where it pays; the answers stay the same."""
    draft: str = "auto"
    """A smaller model with the same tokens that helps to guess: `auto`, `off` or its name."""
    batch_floor: float = 0.05
    """Share of the time that waiting batch work gets while more urgent work keeps coming."""
    tpot_factor: float = 2.0
    """How much slower an interactive stream may become while prompts are computed beside it."""
    gpu_layers: int = -1
    """-1: what the plan says."""
    least_tokens_per_second: float = 1.0
    """A model that is larger than the free memory runs from disk, unless it would write fewer."""
    share_weights: bool = False
    """Several engines on one file hold its weights once, also of types that a copy would serve."""
    kv_type: Literal["auto", KvType] = "auto"
    """`auto`: f16, or q8_0 where more fits in so."""
    workload: Workload = "chat"
    """What it should be quick at."""
    relayout: Literal["auto", "off"] = "auto"
    """`auto`: a model takes another plan while it answers, when the machine or the work has changed
    enough to pay for it."""
    measure: bool = True
    """Where there is a GPU: time some layers of each model once, while nobody asks anything, so
    that the next load knows the quickest layout."""


class CacheSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of conversations that are over for now, so that their next turn starts soon."""

    disk: bool = True
    dir: str = ""
    """Empty: `cache` in the data folder."""
    disk_gb: float = 0
    """At most, for all models; 0: a tenth of what is free when the node starts, up to 32."""
    daily_write_gb: float = 64
    """Written in a day at most, for the disk's sake."""
    memory_gb: float = 0
    """For each model; 0: a tenth of the free memory, up to 8."""
    hand_over: bool = True
    """KV blocks go along with an answer that another node takes over, and come along with one from
    there, where that is quicker than computing; `false`: none leave here, none are taken."""
