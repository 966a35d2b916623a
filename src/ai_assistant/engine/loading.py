"""Loads a model as its plan says: the file is read ahead by several threads while the kernels take
it in, rearranged by all cores, and of what does not fit into memory a part stays.
"""

from collections.abc import Callable
from contextlib import nullcontext

import msgspec

from ai_assistant.engine import readahead_advice as advice
from ai_assistant.engine.kernels import Model, repack
from ai_assistant.engine.kernels.placement import Placement
from ai_assistant.engine.loading_beyond import Beyond
from ai_assistant.engine.loading_memory import unpopulated
from ai_assistant.engine.readahead import Ahead, free_memory
from ai_assistant.protocol.engine_plan import EnginePlan

WARM = 0.98
"""Share of a file in the page cache from which on reading ahead has nothing to do."""
READING = 0.6
"""Share of a cold load that is the disk's."""

PART = 0.3
"""Share of a start that is the load: steps take seconds, and some are tried before it is ready."""

Tell = Callable[[float], None]


class Progress:
    """One number of two: what the disk and what the kernels have done. Never goes back."""

    def __init__(self, tell: Tell, cold: float) -> None:
        """`cold`: share of the file that has to be read."""
        self._tell = tell
        self._weight = READING * cold
        self._read = self._taken = self._told = 0.0

    def read(self, fraction: float) -> None:
        """Of the file."""
        self._read = max(self._read, fraction)
        self._say()

    def taken(self, fraction: float) -> None:
        """By the kernels."""
        self._taken = max(self._taken, fraction)
        self._say()

    def _say(self) -> None:
        done = self._weight * max(self._read, self._taken) + (1 - self._weight) * self._taken
        if done > self._told:
            self._told = done
            self._tell(done)


def load(plan: EnginePlan, tell: Tell) -> Model:
    """The plan's model; `tell` hears 0 to 1. Raises `LoadError` and, without a file, `OSError`."""
    repack.install(max(plan.threads, plan.threads_batch), advice.large_pages)
    placement = msgspec.convert(plan, Placement, from_attributes=True)
    if plan.resident_bytes:
        return _load_a_part(plan, placement, tell)
    cold = 1 - advice.resident(plan.model_path)
    progress = Progress(tell, cold)
    ahead = _ahead(plan, cold, progress)
    try:
        # By itself libllama reads a mapped file on one thread before it does anything else.
        maps = ahead and placement.load_mode in ("auto", "mmap")
        with unpopulated() if maps else nullcontext(_nothing) as mapped:
            model = _load(plan, placement, _first(mapped, progress.taken))
        if ahead:
            ahead.wait()
        return model
    finally:
        if ahead:
            ahead.stop()


def _ahead(plan: EnginePlan, cold: float, progress: Progress) -> Ahead | None:
    """Reads the file, if that is worth it and there is room."""
    if cold < 1 - WARM or plan.load_mode == "direct":
        return None
    ahead = Ahead(plan.model_path, most=free_memory())
    ahead.on_bytes = lambda done: progress.read(done / ahead.size)
    ahead.start()
    return ahead


def _load(plan: EnginePlan, placement: Placement, tell: Tell) -> Model:
    return Model(
        plan.model_path,
        gpu_layers=plan.gpu_layers,
        share_weights=plan.share_weights,
        placement=placement,
        on_progress=tell,
    )


def _first(act: Callable[[], None], tell: Tell) -> Tell:
    """`tell`, and `act` before it the first time: then the file is mapped, and nothing is read."""
    acted = False

    def heard(done: float) -> None:
        nonlocal acted
        if not acted:
            acted = True
            act()
        tell(done)

    return heard


def _nothing() -> None:
    """There is nothing to undo."""


def _load_a_part(plan: EnginePlan, placement: Placement, tell: Tell) -> Model:
    """The file is mapped; what stays is read, the rest when it is needed."""
    placement = msgspec.structs.replace(placement, load_mode="mmap")
    plan = msgspec.structs.replace(plan, gpu_layers=0, share_weights=True)
    with unpopulated() as mapped:
        model = _load(plan, placement, _first(mapped, lambda done: tell(done * PART / 2)))
    model.beyond = Beyond(plan.model_path, model.layers, plan.resident_bytes)
    if model.beyond.division.bytes_streamed:
        model.watch = model.beyond.watch
    tell(PART)
    return model
