"""What a node says of itself: for `ps`, the status page and the scheduler's decisions."""

from typing import Literal

import msgspec

from ai_assistant.protocol.power import PowerStatus

ModelState = Literal["unloaded", "loading", "ready", "failed"]
PlanSource = Literal["settings", "processor", "bytes", "measured", "fallback"]
"""Who decided: the owner; nobody, where there is no GPU; a first look at sizes; trials; or a load
that found no room."""


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A model that this node can serve, read from its file's header."""

    id: str
    name: str
    path: str
    size_bytes: int
    architecture: str
    quantisation: str
    parameters: int
    context_train: int
    """Tokens of context that the model was trained for."""
    embedding: bool = False
    """It gives vectors, not text."""
    kv_bytes_per_token: int = 0
    """Memory of one token of context with a 16-bit cache; 0 where it does not grow."""
    licence: str | None = None


class EngineStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One engine, as it is now. Rates are over the last seconds of work."""

    pid: int
    slots: int
    """Sequences that can run at once."""
    running: int
    waiting: int
    parked: int
    """Sequences that made room for others and will go on."""
    context_limit: int
    """Tokens that one sequence may have."""
    cells_total: int
    """Tokens of KV cache in all."""
    cells_used: int
    cells_retained: int
    """Of the used ones: kept from ended requests, given up when room is needed."""
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    warm_bytes: int = 0
    """Memory of ended sequences that have left the context and can come back."""
    prefill_tokens_per_second: float
    decode_tokens_per_second: float
    steps: int
    decode_ms_mean: float
    """Milliseconds in the kernels per decode-only step."""
    python_ms_mean: float
    """Milliseconds outside the kernels per decode-only step."""
    memory_bytes: int
    threads: int
    """Threads that compute, now: of single tokens."""
    threads_batch: int = 0
    """The same of prompts."""
    weights_shared_bytes: int = 0
    """Weights in the file's own pages, which other processes with the same file use too."""
    weights_own_bytes: int = 0
    """Weights that this engine or a device holds for itself."""
    cores_busy: float = 0.0
    """Cores that other programs use, as far as this was measured."""
    cold_bytes: int = 0
    """On disk."""
    cold_blocks: int = 0
    cold_written_today: int = 0
    """Bytes."""
    cold_refused: int = 0
    """Blocks on disk that were torn, foreign or damaged: put aside and computed again."""
    warm_hit_tokens: int = 0
    """Prompt tokens that came from RAM."""
    cold_hit_tokens: int = 0
    """Prompt tokens that came from disk."""
    preemptions: int = 0
    """Times that a sequence made room for one of a higher class."""
    drafted_tokens: int = 0
    """Guessed ahead."""
    accepted_tokens: int = 0
    """Guessed right."""
    drafted_from_text: int = 0
    """Of those guessed ahead: by the request's own text."""
    accepted_from_text: int = 0
    drafted_from_past: int = 0
    """By past answers."""
    accepted_from_past: int = 0
    drafted_from_grammar: int = 0
    """By what a grammar leaves no choice about."""
    accepted_from_grammar: int = 0
    drafted_from_model: int = 0
    """By a draft model, and verified."""
    accepted_from_model: int = 0
    draft_seconds: float = 0.0
    """Spent on the draft model."""
    draft_bytes: int = 0
    """Of the draft model's weights; 0: there is none."""


class PlanStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is laid over this machine, and why so."""

    summary: str
    """Such as `20 of 32 layers on the GPU, 8 threads`."""
    source: PlanSource
    reasons: tuple[str, ...] = ()
    ttft: float | None = None
    """Seconds to the first token of a typical prompt, as predicted."""
    tpot: float | None = None
    """Seconds between two tokens."""
    tokens_per_second: float | None = None
    memory: dict[str, int] = {}
    """Bytes by device, as planned: `RAM`, `CUDA0`."""
    draft: str = ""
    """The draft model beside it; empty: none is planned."""
    measuring: float | None = None
    """How far the trials of this model are, 0 to 1; None: none are under way."""


class MoveStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The last time that a model was laid out anew while it was in use."""

    at: float
    """Unix time in seconds."""
    by: Literal["owner", "node"]
    why: str
    how: str = ""
    """`in place`, `beside` or `instead`."""
    paused_seconds: float = 0.0
    error: str | None = None
    """Why the old plan goes on; None: the new one does."""


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A model and its engine, if it has one."""

    model: ModelInfo
    state: ModelState
    default: bool = False
    progress: float = 0.0
    eta_seconds: float | None = None
    error: str | None = None
    engine: EngineStatus | None = None
    restarts: int = 0
    plan: PlanStatus | None = None
    moved: MoveStatus | None = None
    """None: not since it was loaded."""
    held: bool = False
    """Its layout was chosen by hand, and stays until it is released or unloaded."""


class JobsStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Batches that are not finished, and whether there is a way out."""

    working: int = 0
    waiting: dict[str, int] = {}
    """How many wait for what: `window`, `network`, `disk`, `model` or `limit`."""
    messages: tuple[str, ...] = ()
    """Of those that wait, in words; some of them."""
    online: bool = True


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The whole node."""

    version: str
    uptime_seconds: float
    pid: int
    memory_bytes: int
    models: tuple[ModelStatus, ...]
    power: PowerStatus | None = None
    """None: nobody keeps it."""
    jobs: JobsStatus | None = None
