"""Layers are timed only while nobody asks anything; whoever asks stops that at once."""

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.devices.layout_tools import device
from tests.workers.test_local import INSTANT

from ai_assistant.devices.layout.predict import Bench
from ai_assistant.devices.settings import EngineSettings
from ai_assistant.protocol.kernels import KernelDevice, KernelReport
from ai_assistant.protocol.requests import GenerateRequest, TextPrompt
from ai_assistant.store.models import read_model, starter_path
from ai_assistant.workers import idle as idle_module
from ai_assistant.workers.idle import Idle
from ai_assistant.workers.local import LocalWorker
from ai_assistant.workers.planning import Planner
from ai_assistant.workers.trials import Stopped, Ways

MODEL = read_model(starter_path(), "starter")
CARD = KernelDevice(
    name="CUDA0", description="Card", backend="CUDA", kind="gpu", memory_free=1 << 34,
    memory_total=1 << 34,
)  # fmt: skip


class SlowTrials:
    """Stands where layers are timed: takes its time, and stops when it is told to."""

    seconds = 0.2
    stopped = 0
    done = 0

    def __init__(
        self,
        _model: Path,
        _anatomy: object,
        tell: Callable[[float], None],
        *,
        stop: threading.Event,
        known: object,
    ) -> None:
        self._tell = tell
        self._stop = stop

    def measure(self, ways: Ways) -> Bench:
        assert ways.nice > 0
        self._tell(0.5)
        if self._stop.wait(self.seconds):
            type(self).stopped += 1
            raise Stopped
        type(self).done += 1
        return Bench(cpu={2: device(1e-3, 1e-4)}, gpus=(device(1e-4, 1e-4),))


@pytest.fixture(autouse=True)
def trials(monkeypatch: pytest.MonkeyPatch) -> type[SlowTrials]:
    kind = type("Trials", (SlowTrials,), {})
    monkeypatch.setattr(idle_module, "Measuring", kind)
    monkeypatch.setattr(idle_module, "LOOK_SECONDS", 0.05)
    return kind


def planner(folder: Path) -> Planner:
    report = KernelReport(version="1", devices=(CARD,))
    return Planner(
        EngineSettings(), folder, ask=lambda: report, kinds_of_gpu=lambda: frozenset({"cuda"})
    )


async def watched(folder: Path, *, measure: bool) -> tuple[Idle, LocalWorker]:
    plans = planner(folder)
    planned = plans.plan(MODEL)
    worker = LocalWorker(MODEL, planned.plan, command=INSTANT, told=planned.told)
    looking = Idle(plans, measure=measure, idle_seconds=0.2)
    looking.watch(MODEL, worker)
    await worker.start()
    await worker.ready()
    return looking, worker


async def until(true: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


def test_model_is_measured_once_when_it_is_quiet(tmp_path: Path, trials: type[SlowTrials]) -> None:
    async def run() -> None:
        looking, worker = await watched(tmp_path, measure=True)
        task = asyncio.create_task(looking.run())
        await until(lambda: bool(worker.told and worker.told.measuring == 0.5))
        await until(lambda: bool(worker.told and worker.told.tpot))
        await asyncio.sleep(0.5)
        assert trials.done == 1
        assert worker.told
        assert "Measured since" in worker.told.reasons[-1]
        assert worker.told.measuring is None
        assert planner(tmp_path).plan(MODEL).told.source == "measured"
        task.cancel()
        await worker.stop()

    asyncio.run(run())


def test_model_whose_steps_take_something_else_is_measured_once_more(
    tmp_path: Path, trials: type[SlowTrials]
) -> None:
    async def run() -> None:
        looking, worker = await watched(tmp_path, measure=True)
        task = asyncio.create_task(looking.run())
        await until(lambda: bool(worker.told and worker.told.tpot))
        known = looking._planner.known(MODEL, looking._planner.gpus())
        for _doubted in ("once", "and once more: it stays so"):
            known.strayed = -3.0
            assert looking._planner.doubtful(MODEL)
            await until(lambda: trials.done == 2)
            await asyncio.sleep(0.5)
            assert trials.done == 2
        task.cancel()
        await worker.stop()

    asyncio.run(run())


def test_request_stops_the_trials(tmp_path: Path, trials: type[SlowTrials]) -> None:
    async def run() -> None:
        trials.seconds = 30
        looking, worker = await watched(tmp_path, measure=True)
        task = asyncio.create_task(looking.run())
        await until(lambda: bool(worker.told and worker.told.measuring))
        request = GenerateRequest(request_id="r", model="m", prompt=TextPrompt("hi"))
        begun = time.monotonic()
        async for _ in worker.generate(request):
            await asyncio.sleep(0.15)
        await until(lambda: trials.stopped == 1)
        assert time.monotonic() - begun < 5
        task.cancel()
        await asyncio.wait([task])
        await worker.stop()

    asyncio.run(run())


def test_owner_may_forbid_it(tmp_path: Path, trials: type[SlowTrials]) -> None:
    async def run() -> None:
        looking, worker = await watched(tmp_path, measure=False)
        task = asyncio.create_task(looking.run())
        await asyncio.sleep(0.8)
        assert (trials.done, trials.stopped) == (0, 0)
        task.cancel()
        await worker.stop()

    asyncio.run(run())


def test_end_of_the_node_ends_the_trials(tmp_path: Path, trials: type[SlowTrials]) -> None:
    async def run() -> None:
        trials.seconds = 30
        looking, worker = await watched(tmp_path, measure=True)
        task = asyncio.create_task(looking.run())
        await until(lambda: bool(worker.told and worker.told.measuring))
        task.cancel()
        await asyncio.wait([task], timeout=5)
        assert task.done()
        await worker.stop()

    asyncio.run(run())
    assert trials.stopped == 1
