"""Trials in their process: the real kernels, the starter's stand-ins."""

import threading
from collections.abc import Iterator

import psutil
import pytest
from msgspec import structs

from ai_assistant.protocol.errors import EngineError
from ai_assistant.protocol.layout import Case, Trial
from ai_assistant.store.models import starter_path
from ai_assistant.store.twin import write_twin
from ai_assistant.workers.trials_process import Stopped, TrialProcess

CASES = (Case(1), Case(16), Case(1, 600), Case(16, 600), Case(16, 100, 4))


@pytest.fixture(scope="module")
def process() -> Iterator[TrialProcess]:
    with TrialProcess() as one:
        yield one


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    twin = tmp_path_factory.mktemp("twins") / "3.gguf"
    write_twin(starter_path(), twin, 3)
    return Trial(path=str(twin), cases=CASES, chunk=128, seconds=0.01, passes=1)


def test_model_is_loaded_once_for_trials_of_other_contexts(
    process: TrialProcess, trial: Trial
) -> None:
    first = process.run(trial)
    others = [process.run(structs.replace(trial, threads=2, cases=CASES[:3])),
              process.run(structs.replace(trial, kv_type="q8_0"))]  # fmt: skip
    apart = process.run(structs.replace(trial, host_buffers=False))
    assert {one.case for one in first.times} == set(CASES)
    assert {one.case for one in others[0].times} == set(CASES[:3])
    for report in (first, *others, apart):
        assert all(0 < one.seconds < 5 for one in report.times)
        assert {"weights", "compute"} <= {what.partition("/")[0] for what in report.memory}
    assert weights(first) == weights(others[0]) == weights(others[1])
    assert others[1].memory["kv/CPU"] < first.memory["kv/CPU"]


def weights(report: object) -> dict[str, int]:
    memory: dict[str, int] = report.memory  # type: ignore[attr-defined]
    return {what: size for what, size in memory.items() if what.startswith("weights/")}


def test_refused_trial_ends_neither_the_process_nor_the_next_one(
    process: TrialProcess, trial: Trial
) -> None:
    with pytest.raises(EngineError, match="refused"):
        process.run(structs.replace(trial, path="/nowhere/3.gguf"))
    assert process.run(trial).times


def test_deep_step_is_as_slow_behind_kept_tokens_as_behind_computed_ones(trial: Trial) -> None:
    deep = structs.replace(trial, cases=(Case(64), Case(64, 4000)), seconds=0.1, passes=2)
    with TrialProcess() as process:
        computed, kept = process.run(deep), process.run(deep)
    for report in (computed, kept):
        flat, behind = (one.seconds for one in report.times)
        assert behind > 1.5 * flat, "it looks back at all of them"


def children() -> set[psutil.Process]:
    return set(psutil.Process().children())


def test_driver_that_takes_the_process_down_is_an_error(trial: Trial) -> None:
    before = children()
    with TrialProcess() as process:
        (child,) = children() - before
        child.kill()
        with pytest.raises(EngineError, match="The kernels ended"):
            process.run(trial)


def run_for_a_minute(trial: Trial, stop: threading.Event) -> None:
    with TrialProcess(stop) as process:
        while True:
            process.run(structs.replace(trial, cases=(Case(1),), seconds=60))


def test_process_is_gone_soon_after_it_was_stopped(trial: Trial) -> None:
    stop, before = threading.Event(), children()
    threading.Timer(0.5, stop.set).start()
    with pytest.raises(Stopped):
        run_for_a_minute(trial, stop)
    assert children() <= before
