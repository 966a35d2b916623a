"""What is loaded follows the plan: by bytes, then by measurement; smaller where it must be."""

import asyncio
import sys
import time
from pathlib import Path

import msgspec
import pytest
from tests.devices.layout_tools import device
from tests.fakes.full_gpu import STATUS
from tests.fakes.slow_disk import slow_disk

from ai_assistant.devices.facts import read_cpu
from ai_assistant.devices.layout import stored
from ai_assistant.devices.layout.costs import Costs, Curve
from ai_assistant.devices.layout.predict import NEUTRAL, Bench, step
from ai_assistant.devices.settings import EngineSettings
from ai_assistant.protocol.errors import ModelLoadFailed
from ai_assistant.protocol.frames import StepSample
from ai_assistant.protocol.kernels import KernelDevice, KernelReport
from ai_assistant.protocol.status import EngineStatus, ModelInfo
from ai_assistant.store.anatomy import read_anatomy
from ai_assistant.store.models import read_model, starter_path
from ai_assistant.workers import planning
from ai_assistant.workers.local import LocalWorker
from ai_assistant.workers.planning import Planned, Planner, layout_of, machine_name

LAYERS = len(read_anatomy(starter_path()).layers)
MEGABYTE = 1 << 20
CPU, GPU = device(1e-3, 1e-4), device(1e-4, 1e-4)


class Kernels:
    """What the kernels say of a machine's GPUs; counts how often they are asked."""

    def __init__(self, *free: int) -> None:
        self.free = free
        self.asked = 0

    def __call__(self) -> KernelReport:
        self.asked += 1
        cards = tuple(
            KernelDevice(
                name=f"CUDA{index}", description="Test card", backend="CUDA", kind="gpu",
                memory_free=size, memory_total=size,
            )
            for index, size in enumerate(self.free)
        )  # fmt: skip
        return KernelReport(version="1", devices=cards)


def planner(folder: Path, kernels: Kernels, **settings: object) -> Planner:
    engine = msgspec.convert(settings, EngineSettings)
    return Planner(engine, folder, ask=kernels, kinds_of_gpu=lambda: frozenset({"cuda"}))


def starter() -> ModelInfo:
    return read_model(starter_path(), "starter")


def test_without_a_backend_nobody_asks_the_kernels(tmp_path: Path) -> None:
    kernels = Kernels(1 << 40)
    plain = Planner(EngineSettings(), tmp_path, ask=kernels, kinds_of_gpu=frozenset)
    planned = plain.plan(starter())
    assert kernels.asked == 0
    assert planned.smaller is None
    assert "all on the processor" in planned.told.summary
    assert planned.plan.gpu_layers == -1


def test_machine_without_a_card_is_asked_once(tmp_path: Path) -> None:
    kernels = Kernels()
    plain = planner(tmp_path, kernels)
    for _ in range(3):
        plain.plan(starter())
    assert kernels.asked == 1


def test_first_load_is_by_bytes(tmp_path: Path) -> None:
    planned = planner(tmp_path, Kernels(16 << 30)).plan(starter())
    assert planned.plan.gpu_layers == LAYERS + 1
    assert planned.told.source == "bytes"
    assert "all on the GPU" in planned.told.summary
    assert planned.told.memory["CUDA0"] > 30 * MEGABYTE
    assert planned.plan.load_mode == "auto", "nothing stays in main memory"


def test_gpu_without_room_is_left_alone(tmp_path: Path) -> None:
    planned = planner(tmp_path, Kernels(10 * MEGABYTE)).plan(starter())
    assert planned.plan.gpu_layers == 0
    assert planned.plan.load_mode == "read", "prompts are fetched by the GPU"
    assert "all on the processor" in planned.told.summary


def test_owners_number_of_layers_wins(tmp_path: Path) -> None:
    planned = planner(tmp_path, Kernels(16 << 30), gpu_layers=3, kv_type="q8_0").plan(starter())
    assert (planned.plan.gpu_layers, planned.plan.kv_type) == (3, "q8_0")
    assert planned.told.source == "settings"


def test_layers_of_two_cards_are_counted_as_the_kernels_do(tmp_path: Path) -> None:
    tight = planner(tmp_path, Kernels(16 << 30, 16 << 30)).plan(starter())
    assert sum(tight.plan.tensor_split) == LAYERS + 1
    layout = layout_of(tight.plan, read_anatomy(starter_path()))
    assert sum(layout.on_gpus) == LAYERS


def measured(folder: Path, gpu: Costs) -> None:
    kernels = Kernels(16 << 30)
    name = stored.key(read_anatomy(starter_path()), machine_name(planner(folder, kernels).gpus()))
    cores = read_cpu().compute_cores
    stored.save(folder, name, "f16", Bench(cpu={cores: CPU}, gpus=(gpu,)))


def test_measured_plan_takes_over(tmp_path: Path) -> None:
    measured(tmp_path, device(9e-3, 9e-3))
    planned = planner(tmp_path, Kernels(16 << 30)).plan(starter())
    assert planned.told.source == "measured"
    assert planned.plan.gpu_layers == 0, "this card is slower than the processor"
    assert planned.told.tpot
    assert planned.told.ttft
    assert any("More layers on the GPU" in said for said in planned.told.reasons)


def test_what_was_stored_torn_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    measured(tmp_path, GPU)
    (file,) = tmp_path.glob("*.f16.json")
    file.write_bytes(file.read_bytes()[:100])
    assert planner(tmp_path, Kernels(16 << 30)).plan(starter()).told.source == "bytes"


def test_steps_of_the_model_correct_predictions(tmp_path: Path) -> None:
    measured(tmp_path, GPU)
    plans = planner(tmp_path, Kernels(16 << 30))
    planned, model = plans.plan(starter()), starter()
    before = plans.told(model, planned.plan, planned.told)
    assert before.tpot
    known = plans.known(model, plans.gpus())
    layout = layout_of(planned.plan, known.anatomy)
    one = step(known.anatomy, known.benches["f16"], layout, 1, 100)
    for _ in range(200):
        plans.learn(model, planned.plan, STATUS, [StepSample(1, 100, 1, 1.4 * one.total)])
    after = plans.told(model, planned.plan, planned.told)
    assert after.tpot
    assert 1.3 < after.tpot / before.tpot < 1.5


def test_reports_do_not_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "SAVE_SECONDS", 0.0)
    measured(tmp_path, GPU)
    plans = planner(tmp_path, Kernels(16 << 30))
    planned, model = plans.plan(starter()), starter()
    file = tmp_path / f"{plans.known(model, plans.gpus()).name}.factors.json"
    with slow_disk(file, 0.8):
        began = time.monotonic()
        for seconds in (0.01, 0.02):
            plans.learn(model, planned.plan, STATUS, [StepSample(1, 100, 1, seconds)])
        assert time.monotonic() - began < 0.4
    for _ in range(200):
        if file.exists():
            break
        time.sleep(0.02)
    taught = plans.known(model, plans.gpus()).factors
    assert planner(tmp_path, Kernels(16 << 30)).known(model, plans.gpus()).factors == taught


def test_steps_beside_other_programs_teach_nothing(tmp_path: Path) -> None:
    measured(tmp_path, GPU)
    plans = planner(tmp_path, Kernels(16 << 30))
    planned = plans.plan(starter())
    busy: EngineStatus = msgspec.structs.replace(STATUS, cores_busy=1.5)
    plans.learn(starter(), planned.plan, busy, [StepSample(1, 0, 1, 0.001)])
    assert plans.known(starter(), plans.gpus()).factors == NEUTRAL


# A load that finds no room.


def worker(planned: Planned, layers: int, how: str) -> LocalWorker:
    command = (sys.executable, "-m", "tests.fakes.full_gpu", str(layers), how)
    return LocalWorker(
        starter(), planned.plan, command=command, told=planned.told, smaller=planned.smaller
    )


@pytest.mark.parametrize("how", ["refuse", "crash"])
def test_load_that_finds_no_room_is_tried_smaller(tmp_path: Path, how: str) -> None:
    async def run() -> None:
        planned = planner(tmp_path, Kernels(16 << 30)).plan(starter())
        local = worker(planned, LAYERS // 2, how)
        await local.start()
        await local.ready()
        status = local.status()
        assert status.plan
        assert status.plan.source == "fallback"
        assert "no room" in status.plan.reasons[0]
        assert 0 < local.plan.gpu_layers <= LAYERS // 2
        assert status.restarts == 0
        await local.stop()

    asyncio.run(run())


def test_what_fits_nowhere_is_refused_with_the_kernels_reason(tmp_path: Path) -> None:
    async def run() -> None:
        local = worker(planner(tmp_path, Kernels(16 << 30)).plan(starter()), -2, "refuse")
        await local.start()
        with pytest.raises(ModelLoadFailed) as caught:
            await local.ready()
        assert "unable to allocate" in caught.value.message
        assert local.status().state == "failed"

    asyncio.run(run())


def test_curve_of_a_stored_bench_survives(tmp_path: Path) -> None:
    bench = Bench(cpu={2: CPU}, gpus=(GPU,), crossing=Curve((1, 2), (0.5, 0.6)))
    stored.save(tmp_path, "x", "q8_0", bench)
    assert stored.load(tmp_path, "x", ("f16", "q8_0")) == {"q8_0": bench}
