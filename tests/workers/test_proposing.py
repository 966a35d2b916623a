"""What is proposed for a loaded model when a card's free memory or the granted cores change."""

from pathlib import Path

from msgspec import structs
from tests.devices.layout_tools import device
from tests.fakes.full_gpu import STATUS
from tests.workers.test_planning import CPU, LAYERS, Kernels, measured, planner, starter

from ai_assistant.devices.facts import read_cpu
from ai_assistant.devices.settings import EngineSettings
from ai_assistant.devices.source import NvidiaCard
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.frames import StepSample
from ai_assistant.protocol.relayout import Usage
from ai_assistant.workers.planning import Planner
from ai_assistant.workers.proposing import GPU_SECONDS, Proposer

USAGE = Usage(turns=0.1, prompt=1500, known=1200, answer=250, streams=1)
QUICK = device(1e-4, 1e-4)
MEGABYTE = 1 << 20


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def loaded(plans: Planner) -> EnginePlan:
    return plans.plan(starter()).plan


def test_room_on_the_card_brings_layers_there_and_the_lack_of_it_takes_none_away(
    tmp_path: Path,
) -> None:
    measured(tmp_path, QUICK)
    kernels, clock = Kernels(10 * MEGABYTE), Clock()
    plans = planner(tmp_path, kernels)
    plan = loaded(plans)
    assert plan.gpu_layers == 0
    propose = Proposer(plans, EngineSettings(), clock=clock)
    assert propose(starter(), plan, STATUS, USAGE) is None
    kernels.free = (16 << 30,)
    assert propose(starter(), plan, STATUS, USAGE) is None, "it is not asked again at once"
    clock.now += GPU_SECONDS
    found = propose(starter(), plan, STATUS, USAGE)
    assert found
    assert found.want.plan.gpu_layers == LAYERS + 1
    assert found.then < found.now / 2
    assert found.way == "beside"
    assert found.told.source == "measured"
    assert found.told.tpot
    assert "is predicted to take" in found.why
    # What the model takes itself does not count against it.
    kernels.free = (0,)
    clock.now += GPU_SECONDS
    assert propose(starter(), found.want.plan, STATUS, USAGE) is None


def test_a_card_that_tells_of_freed_memory_itself_is_not_waited_for(tmp_path: Path) -> None:
    measured(tmp_path, QUICK)
    kernels, card = (
        Kernels(10 * MEGABYTE),
        NvidiaCard(index=0, name="card", pci="", memory_free=10 * MEGABYTE),
    )
    plans = planner(tmp_path, kernels)
    plan, told = loaded(plans), [card]
    propose = Proposer(plans, EngineSettings(), cards=lambda: told, clock=Clock())
    assert propose(starter(), plan, STATUS, USAGE) is None
    kernels.free = (16 << 30,)
    told[0] = structs.replace(card, memory_free=100 * MEGABYTE)
    assert propose(starter(), plan, STATUS, USAGE) is None, "that much comes and goes"
    told[0] = structs.replace(card, memory_free=16 << 30)
    assert propose(starter(), plan, STATUS, USAGE)


def test_work_decides_too(tmp_path: Path) -> None:
    """A card that is slow for single tokens and quick for prompts: it depends on who asks."""
    slow = structs.replace(QUICK, layer=structs.replace(QUICK.layer, seconds=(4e-3, 5e-3, 6e-3)))
    measured(tmp_path, slow)
    plans = planner(tmp_path, Kernels(16 << 30))
    on_card = structs.replace(loaded(plans), gpu_layers=99)
    on_processor = structs.replace(on_card, gpu_layers=0)
    propose = Proposer(plans, EngineSettings())
    talk = structs.replace(USAGE, prompt=60, known=40, answer=800)
    read = structs.replace(USAGE, prompt=20_000, known=0, answer=5)
    found = propose(starter(), on_card, STATUS, talk)
    assert found
    assert found.want.plan.gpu_layers == 0
    found = propose(starter(), on_processor, STATUS, read)
    assert found
    assert found.want.plan.gpu_layers == LAYERS + 1


def test_nothing_is_decided_by_what_the_model_itself_does_not_bear_out(tmp_path: Path) -> None:
    """Seen on a GPU's host: trials that others held up told of layers that cost nothing."""
    measured(tmp_path, QUICK)
    plans = planner(tmp_path, Kernels(16 << 30))
    plan = structs.replace(loaded(plans), gpu_layers=0)
    propose = Proposer(plans, EngineSettings())
    found = propose(starter(), plan, STATUS, USAGE)
    assert found
    told = plans.told(starter(), plan, found.told)
    assert told.tpot
    for factor, trusted in ((1.3, True), (4.0, False), (0.2, False)):
        plans.known(starter(), plans.gpus()).strayed = 0.0
        for _ in range(100):
            plans.learn(starter(), plan, STATUS, [StepSample(1, 1325, 1, factor * told.tpot)])
        assert (propose(starter(), plan, STATUS, USAGE) is not None) == trusted, factor


def test_what_was_not_timed_or_what_the_owner_set_is_not_moved(tmp_path: Path) -> None:
    kernels = Kernels(16 << 30)
    plain = planner(tmp_path, kernels)
    on_processor = structs.replace(loaded(plain), gpu_layers=0)
    assert Proposer(plain, EngineSettings())(starter(), on_processor, STATUS, USAGE) is None
    measured(tmp_path, QUICK)
    settings = EngineSettings(gpu_layers=0)
    fixed = planner(tmp_path, kernels, gpu_layers=0)
    assert Proposer(fixed, settings)(starter(), on_processor, STATUS, USAGE) is None
    assert CPU.layer.at(1) > QUICK.layer.at(1)


def test_cores_that_a_group_grants_are_read_anew(tmp_path: Path) -> None:
    group = tmp_path / "machine/sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "cpu.max").write_text("100000 100000")
    plans = Planner(EngineSettings(), tmp_path, ask=Kernels(), kinds_of_gpu=frozenset)
    plan = structs.replace(loaded(plans), threads=1, threads_batch=1)
    engine = structs.replace(
        STATUS, threads=1, threads_batch=1, decode_ms_mean=10.0, prefill_tokens_per_second=500.0
    )
    propose = Proposer(plans, EngineSettings(), root=tmp_path / "machine")
    assert propose(starter(), plan, engine, USAGE) is None
    (group / "cpu.max").write_text("max 100000")
    cores = read_cpu().compute_cores
    found = propose(starter(), plan, engine, USAGE)
    assert (found is not None) == (cores > 1)
    if found:
        assert found.want.plan.threads == cores
        assert found.way == "in place"
        assert f"{cores} threads" in found.told.summary
