"""How one model is laid out on this machine: decided by the node, obeyed by an engine."""

from typing import Literal

import msgspec


class ColdPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The KV cache's tier on disk."""

    folder: str
    bytes: int
    """Together with all other models that use the folder."""
    daily_bytes: int
    """Written in a day at most, for the disk's sake."""


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """A system prompt that is computed before the model says ready, and never given up."""

    name: str
    system: str


class DraftPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A smaller model with the same tokens, which guesses what this one will say."""

    model_path: str
    gpu_layers: int = 0
    """All of it on a GPU, -1, or nothing."""
    cells: int
    """Tokens of its KV cache, in all sequences."""
    slots: int = 4
    """Sequences that it follows at once."""
    kv_type: str = "f16"


LoadMode = Literal["auto", "mmap", "read", "direct"]
"""How a file comes into memory: mapped, read, or read past the page cache."""


class EnginePlan(msgspec.Struct, frozen=True, kw_only=True):
    """How one model is laid out on this machine: decided outside, obeyed by the engine."""

    model_path: str
    embedding: bool = False
    context_limit: int
    """Tokens that one sequence may have."""
    cells: int
    """Tokens of KV cache in all sequences."""
    slots: int
    """Sequences that run at once."""
    retained: int
    """Ended sequences whose cells are kept for a next turn."""
    chunk: int
    """Tokens of one decode call (n_batch = n_ubatch)."""
    threads: int
    threads_batch: int
    gpu_layers: int = -1
    """-1: all, on machines that have a GPU."""
    feeds_on_cpu: int = 0
    """Layers, the first ones, whose feed-forward weights (of a mixture: its experts) stay in main
    memory although the rest of the layer is on a GPU."""
    tensor_split: tuple[float, ...] = ()
    """Shares of the layers on each GPU, in the kernels' order; empty: by their free memory."""
    kv_on_gpu: bool = True
    """The KV cache of a layer lies where the layer is; else in main memory."""
    op_offload: bool = True
    """Large steps of layers in main memory are computed on the GPU."""
    host_buffers: bool = True
    """Weights in main memory lie where a GPU fetches them quickly; else as the processor likes."""
    load_mode: LoadMode = "auto"
    share_weights: bool = False
    """Use the file's own pages, which processes share, instead of a quicker copy of them."""
    resident_bytes: int = 0
    """Memory for the weights of a model that does not fit: a part of each layer stays, the rest is
    read from disk in every step; 0: all stay."""
    kv_type: str = "f16"
    park_bytes: int = 1 << 30
    """Memory for the state of parked sequences; beyond it they are computed again."""
    warm_bytes: int = 1 << 29
    """Memory for ended sequences that left the context; 0 forgets them."""
    cold: ColdPlan | None = None
    """None: nothing is kept on disk."""
    pins: tuple[Pin, ...] = ()
    elastic_threads: bool = True
    """Thread counts follow the machine, up to `threads`; else they stay."""
    speculation: bool = True
    draft: DraftPlan | None = None
    """None: guesses come from the text itself only."""
    batch_floor: float = 0.05
    """Share of the time that a lower class gets while higher ones keep the engine busy."""
    tpot_factor: float = 2.0
    """How much slower than alone a running interactive stream may become for the others' sake."""
    queue: int = 512
    """Requests that may wait."""
