"""Memory gets short: what a node's models are told, one thing at a time, and how it ends."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

from ai_assistant.devices.pressure import PressureFacts
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.status import EngineStatus, ModelInfo, ModelStatus
from ai_assistant.scheduler.easing import Easing, Loaded
from ai_assistant.scheduler.relief import Ease, Shrink, Unload

GB = 1 << 30
SHORT = PressureFacts(total=16 * GB, free=int(0.01 * 16 * GB))
ROOMY = PressureFacts(total=16 * GB, free=10 * GB, some=0.0)
MODEL = ModelInfo(id="m", name="m", path="/m.gguf", size_bytes=GB, architecture="llama",
                  quantisation="Q4_K", parameters=1, context_train=4096)  # fmt: skip
ENGINE = EngineStatus(
    pid=1, slots=4, running=1, waiting=0, parked=0, context_limit=1, cells_total=1, cells_used=0,
    cells_retained=0, prompt_tokens=0, cached_tokens=0, generated_tokens=0, steps=0,
    prefill_tokens_per_second=0, decode_tokens_per_second=0, decode_ms_mean=0, python_ms_mean=0,
    memory_bytes=0, threads=1,
)  # fmt: skip


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test that awaits."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return run


class EasableWorker:
    """An engine's worker that remembers what it was told."""

    def __init__(self) -> None:
        self.plan = EnginePlan(model_path="/m.gguf", context_limit=1, cells=256, slots=4,
                               retained=4, chunk=64, threads=1, threads_batch=1,
                               warm_bytes=GB)  # fmt: skip
        self.told: list[tuple[int, int]] = []
        self.restarts = 0

    def ease(self, warm_bytes: int, slots: int) -> None:
        self.told.append((warm_bytes, slots))

    def status(self) -> ModelStatus:
        return ModelStatus(model=MODEL, state="ready", engine=ENGINE, restarts=self.restarts)


class Two:
    """A model that is in use and one that is not."""

    def __init__(self) -> None:
        self.busy, self.idle = EasableWorker(), EasableWorker()
        self.unloaded: list[str] = []

    def loaded(self) -> list[Loaded]:
        both = [
            Loaded("busy", self.busy, 1, 2.0, default=True),  # type: ignore[arg-type]
            Loaded("idle", self.idle, 0, 1.0, default=False),  # type: ignore[arg-type]
        ]
        return [one for one in both if one.id not in self.unloaded]

    async def unload(self, name: str) -> bool:
        self.unloaded.append(name)
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def _relieved() -> tuple[Two, Easing, list[object], Clock]:
    two, clock, shrunk = Two(), Clock(), []

    async def shrink(name: str) -> bool:
        shrunk.append(name)
        return True

    easing = Easing(two, lambda: SHORT, shrink, clock=clock)
    steps: list[object] = []
    for _ in range(20):
        clock.now += 1
        steps.append(await easing.act(SHORT))
        if shrunk:
            break
    return two, easing, steps, clock


@in_a_loop
async def test_tiers_then_slots_then_idle_models_then_the_layout() -> None:
    two, _, steps, _ = await _relieved()
    kinds = [type(step) for step in steps]
    assert kinds[0] is Ease
    assert kinds.index(Unload) < kinds.index(Shrink)
    assert two.unloaded == ["idle"]
    assert two.busy.told[0] == (0, 4)
    assert two.busy.told[-1] == (0, 1)


@in_a_loop
async def test_all_comes_back_when_memory_is_no_problem_any_more() -> None:
    two, easing, _, clock = await _relieved()
    await easing.act(ROOMY)
    assert easing.level == "calm"
    before = len(two.busy.told)
    clock.now += 30
    await easing.act(ROOMY)
    assert len(two.busy.told) == before
    for _ in range(40):
        clock.now += 60
        await easing.act(ROOMY)
    assert two.busy.told[-1] == (GB, 4)


@in_a_loop
async def test_an_engine_that_was_started_again_is_told_again() -> None:
    two, easing, _, clock = await _relieved()
    two.busy.restarts = 1
    before = len(two.busy.told)
    clock.now += 10
    await easing.act(SHORT)
    assert len(two.busy.told) == before + 1


@in_a_loop
async def test_a_calm_machine_is_left_alone() -> None:
    two = Two()
    easing = Easing(two, lambda: ROOMY)
    assert await easing.act(ROOMY) is None
    assert two.busy.told == two.idle.told == []
