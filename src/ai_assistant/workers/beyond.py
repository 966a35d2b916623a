"""A model that does not fit into memory here: its disk is measured, then it is decided."""

import functools
import logging
from pathlib import Path

from ai_assistant.devices.beyond import Experts, frugal, lay, predict
from ai_assistant.devices.measure.disk import measure_disk
from ai_assistant.devices.pressure import read_pressure
from ai_assistant.devices.settings import EngineSettings
from ai_assistant.devices.source import ThisMachine
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.status import ModelInfo
from ai_assistant.store.anatomy import read_anatomy

log = logging.getLogger(__name__)

DISK_SECONDS = 0.9


def free_here(available: int) -> int:
    """Bytes that may be taken: the machine's, or what is left of this process's group."""
    left = read_pressure(ThisMachine()).free
    return available if left is None else min(available, left)


def from_disk(
    model: ModelInfo, plan: EnginePlan, free: int, settings: EngineSettings
) -> tuple[EnginePlan, str]:
    """The plan with a part of the weights in memory, and words for it. Raises `ModelLoadFailed`
    where it would be slower than the owner's least."""
    plan = frugal(plan, settings.context)
    disk = disk_speed(model.path)
    found = predict(model, plan, free, disk, experts=_experts(Path(model.path)))
    plan, words = lay(model, plan, found, free, settings.least_tokens_per_second)
    log.warning(words)
    return plan, words


def _experts(path: Path) -> Experts:
    anatomy = read_anatomy(path)
    size = sum(layer.experts for layer in anatomy.layers)
    return Experts(size, anatomy.experts_used / anatomy.experts if anatomy.experts else 0.0)


@functools.cache
def disk_speed(path: str) -> float | None:
    """Bytes per second, as the engine reads the weights that pass through; where that cannot be
    seen, of several readers past the page cache; None: not to be had."""
    # Looked for only where a model is larger than the memory: it brings numpy along.
    from ai_assistant.workers.reading import reading_speed

    if found := reading_speed(path, DISK_SECONDS):
        return found
    speed = measure_disk([str(Path(path).parent)], DISK_SECONDS)
    return speed and (speed.parallel or speed.sequential)
