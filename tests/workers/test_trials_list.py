"""Which trials a plan needs, how they are repeated, what they say. No kernels."""

from collections.abc import Callable
from itertools import count, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.devices.layout_tools import anatomy
from tests.fakes.clockwork import Clockwork, seconds

from ai_assistant.devices.layout.predict import Bench, Layout, step
from ai_assistant.protocol.layout import Case, ModelAnatomy, Trial, TrialReport
from ai_assistant.store.anatomy import read_anatomy
from ai_assistant.store.models import starter_path
from ai_assistant.workers.trials import AGAIN, PASSES_IF_SMALL, Measuring, Stopped
from ai_assistant.workers.trials_list import Plan, Ways
from ai_assistant.workers.trials_progress import Progress

DENSE, MIXTURE, STARTER = anatomy(), anatomy(experts=8), read_anatomy(starter_path())
MEGABYTE = 1 << 20
CPU = Ways(threads=(8, 16))
ONE_GPU = Ways(threads=(16,), gpus=("CUDA0",), chunk=2048, others=("q8_0",))
TWO_GPUS = Ways(threads=(16,), gpus=("CUDA0", "CUDA1"), chunk=2048, others=("q8_0",))


@pytest.mark.parametrize(
    ("ways", "trials"), [(CPU, 4), (ONE_GPU, 12), (TWO_GPUS, 16)], ids=["cpu", "one", "two"]
)
@pytest.mark.parametrize("model", [DENSE, MIXTURE], ids=["dense", "mixture"])
def test_so_many_trials_are_needed(model: object, ways: Ways, trials: int) -> None:
    tasks = Plan(model, ways).tasks()  # type: ignore[arg-type]
    assert len(tasks) == len({task.name for task in tasks}) == trials


def test_other_cache_is_timed_only_where_something_looks_back() -> None:
    tasks = [one for one in Plan(DENSE, ONE_GPU).tasks() if one.trial.kv_type == "q8_0"]
    assert [one.way for one in tasks] == ["gpu0", "apart", "cpu16"]
    plain = {one.way: one for one in Plan(DENSE, ONE_GPU).tasks() if one.trial.kv_type == "f16"
             and any(case.depth for case in one.trial.cases)}  # fmt: skip
    for one in tasks:
        assert set(one.trial.cases) < set(plain[one.way].trial.cases)
        assert one.layers == plain[one.way].layers


def test_steps_begin_cold_where_a_stand_in_would_lie_in_a_cache_and_the_model_not() -> None:
    def cold(model: ModelAnatomy, ways: Ways, cache: int) -> dict[str, set[int]]:
        found: dict[str, set[int]] = {}
        for one in Plan(model, ways, cache).tasks():
            found.setdefault(one.way, set()).add(one.trial.cold_bytes)
        return found

    assert cold(DENSE, CPU, 32 * MEGABYTE) == {"cpu8": {0}, "cpu16": {0}}, "layers are larger"
    large = cold(DENSE, ONE_GPU, 100 * MEGABYTE)
    assert large["gpu0"] == {0}
    assert large["cpu16"] == {0, 100 * MEGABYTE}, "the shorter one would lie in the cache"
    assert cold(MIXTURE, CPU, 200 * MEGABYTE)["cpu8"] == {200 * MEGABYTE}
    assert cold(STARTER, CPU, 32 * MEGABYTE)["cpu8"] == {0}, "the model is there itself"
    assert cold(MIXTURE, CPU, 0)["cpu8"] == {0}, "the cache's size is not known"


def test_trials_of_one_file_in_one_place_come_in_a_row() -> None:
    tasks = Plan(DENSE, ONE_GPU).tasks()
    places = [(one.layers, one.trial.gpu_layers, one.trial.feeds_on_cpu, one.trial.host_buffers)
              for one in tasks]  # fmt: skip
    changes = sum(before != after for before, after in pairwise(places))
    assert changes + 1 == len(set(places)) == 9
    assert tasks[0].trial.gpu_layers, "the GPU computes what lies before deep steps"


def measured(machine: Clockwork, tell: Callable[[float], None] = lambda _: None) -> Bench:
    found = Measuring(starter_path(), STARTER, tell, start=lambda _stop: machine)
    benches = found.measure_all(Ways(threads=(1, 2), others=("q8_0",)))
    assert {one.disturbed for one in benches.values()} == {benches["f16"].disturbed}
    for kind, bench in benches.items():
        right = bench.disturbed or [difference(bench, kind, *one) for one in STEPS] == AGREEING
        assert right, kind
    return benches["f16"]


STEPS = [(1, 0), (1, 3000), (16, 0), (16, 700), (128, 2048), (512, 0)]
AGREEING = [pytest.approx(0, abs=1e-6)] * len(STEPS)


def difference(bench: Bench, kind: str, tokens: int, depth: int) -> float:
    """What is predicted of the whole starter with 2 threads, by what is true, less one."""
    layout = Layout(gpu_layers=0, threads=2, kv_type=kind)
    true = seconds(Case(tokens, depth), len(STARTER.layers), 2, kind)
    return step(STARTER, bench, layout, tokens, depth).total / true - 1


TASKS = len(Plan(STARTER, Ways(threads=(1, 2), others=("q8_0",))).tasks())


def test_quiet_machine_is_passed_over_a_few_times_and_told_apart_by_cache() -> None:
    machine = Clockwork()
    assert not measured(machine).disturbed
    assert len(machine.trials) == TASKS * PASSES_IF_SMALL
    assert len({trial.path for trial in machine.trials}) == 2


@given(st.integers(0, 3 * TASKS), st.integers(0, TASKS), st.floats(1.4, 8.0))
@settings(max_examples=40, deadline=None)
def test_others_for_a_while_change_nothing(start: int, length: int, factor: float) -> None:
    machine = Clockwork(lambda turn: factor if start <= turn < start + length else 1.0)
    assert not measured(machine).disturbed


def test_only_steps_that_disagree_are_repeated() -> None:
    machine = Clockwork(lambda turn: 2.0 if turn in (0, TASKS) else 1.0)
    assert not measured(machine).disturbed
    (again,) = machine.trials[TASKS * PASSES_IF_SMALL :]
    assert again.cases == machine.trials[0].cases
    assert again.threads == machine.trials[0].threads


def test_machine_that_stays_busy_is_said_to_be() -> None:
    machine = Clockwork(lambda turn: 1.5**turn)
    assert measured(machine).disturbed
    assert len(machine.trials) == TASKS * (PASSES_IF_SMALL + AGAIN)
    counted = count()
    machine = Clockwork(busy=lambda: 1000.0 * next(counted))
    assert measured(machine).disturbed, "others computed all the time"


def test_who_was_stopped_goes_on_where_he_was() -> None:
    known: dict[bytes, TrialReport] = {}
    ways = Ways(threads=(2,))

    class Ended(Clockwork):
        def run(self, trial: Trial) -> TrialReport:
            if len(self.trials) == 3:
                raise Stopped
            return super().run(trial)

    def measure(machine: Clockwork) -> None:
        Measuring(
            starter_path(), STARTER, lambda _: None, known=known, start=lambda _stop: machine
        ).measure(ways)

    with pytest.raises(Stopped):
        measure(Ended())
    rest = Clockwork()
    measure(rest)
    assert len(rest.trials) == 2 * PASSES_IF_SMALL - 3


def test_progress_never_goes_back_and_ends() -> None:
    shares: list[float] = []
    measured(Clockwork(lambda turn: 2.0 if turn < TASKS + 2 else 1.0), shares.append)
    assert shares == sorted(shares)
    assert 0 < shares[0] < 1
    assert shares[-1] == 1.0


@given(st.lists(st.floats(0.1, 10.0), min_size=12, max_size=12))
def test_progress_is_by_time_once_a_pass_is_done(seconds_of: list[float]) -> None:
    tasks = Plan(DENSE, ONE_GPU).tasks()
    progress = Progress(tasks, 2)
    for task, took in zip(tasks, seconds_of, strict=True):
        progress.done(task.name, took)
        assert 0 < progress.share < 1
    before = progress.share
    for task, took in zip(tasks, seconds_of, strict=True):
        progress.done(task.name, took)
    assert before >= 0.49
    assert progress.share == pytest.approx(1.0)
