import pytest
from tests.engine.pace.machine import Machine, Run, settled

from ai_assistant.engine.pace import Calibration, LoadSample, ThreadController
from ai_assistant.engine.pace.free_cores import FreeCores
from ai_assistant.engine.pace.threads import candidates

IDLE = LoadSample(0.0, 2.0)


@pytest.mark.parametrize("cores", [2, 8, 64])
@pytest.mark.parametrize("step", [0.005, 0.1])
def test_an_idle_machine_loses_less_than_a_hundredth(cores: int, step: float):
    run = Run(Machine(cores, step=step * cores), ThreadController(cores))
    assert run.work(60) > 0.99 * run.best()
    assert run.controller.decode == cores


@pytest.mark.parametrize("cores", [2, 8, 64])
def test_load_that_comes_is_avoided_at_once_and_left_to_itself(cores: int):
    run = settled(Machine(cores, step=0.01 * min(cores, 8)))
    run.machine.others = cores / 2
    run.work(1)
    begun = len(run.used)
    assert run.work(20) > 0.93 * run.best()
    free = cores - cores // 2
    assert all(count <= free for _, count in run.used[begun:])


@pytest.mark.parametrize("cores", [2, 8])
def test_a_full_machine_is_no_collapse(cores: int):
    machine = Machine(cores, step=0.01)
    run = settled(machine)
    machine.others = 2 * cores
    run.work(2)
    fixed = 1 / machine.seconds(cores)
    speed = run.work(10)
    assert speed > 0.9 * run.best()
    assert speed > 3 * fixed


def test_two_slow_steps_are_enough_to_go_down():
    run = settled(Machine(2, step=0.005, noise=0.02))
    run.machine.others = 1
    begun = len(run.used)
    run.work(1)
    assert [count for _, count in run.used[begun : begun + 5]].count(2) <= 3


@pytest.mark.parametrize("cores", [2, 8, 64])
def test_when_the_load_goes_all_cores_are_used_within_a_second(cores: int):
    run = settled(Machine(cores, step=0.01))
    run.machine.others = cores / 2
    run.work(20)
    run.machine.others = 0
    run.work(1)
    assert run.controller.decode == cores
    assert run.work(5) > 0.98 * run.best()


def test_a_load_that_comes_and_goes_does_not_pull_us_up_and_down():
    run = settled(Machine(2, step=0.005))
    changes = 0
    for turn in range(60):
        run.machine.others = turn % 2
        before = len(run.used)
        run.work(0.7)
        counts = [count for _, count in run.used[before:]]
        changes += turn >= 30 and counts[-1] == 2
    assert changes <= 12


def test_an_invisible_load_is_noticed_by_slow_steps():
    run = settled(Machine(2, step=0.005, visible=False))
    run.machine.others = 1
    run.work(2)
    assert run.controller.decode == 1
    assert run.work(60) > 0.9 * run.best()
    run.machine.others = 0
    run.work(70)
    assert run.controller.decode == 2


def test_efficiency_cores_are_left_out_when_they_slow_us_down():
    run = Run(Machine(8, speed=lambda n: n if n <= 4 else n / 3), ThreadController(8))
    run.work(120)
    assert run.controller.decode == 4
    assert run.work(60) > 0.98 * run.best()


@pytest.mark.parametrize("quota", [1.0, 1.5, 3.0])
def test_a_quota_is_the_limit(quota: float):
    run = Run(Machine(8, quota=quota), ThreadController(8))
    run.work(30)
    assert all(count <= -(-quota // 1) for _, count in run.used)


def test_noisy_steps_do_not_confuse():
    run = Run(Machine(8, step=0.03, noise=0.4), ThreadController(8))
    run.work(60)
    assert run.work(60) > 0.93 * run.best()


def test_a_slower_machine_is_not_a_reason_for_fewer_threads():
    run = settled(Machine(8, step=0.03))
    run.machine.slowness = 2.5
    run.work(5)
    assert run.controller.decode == 8
    assert run.work(30) > 0.97 * run.best()


def test_long_prompt_steps_may_use_more_threads_than_free_cores():
    machine = Machine(2, step=0.01)
    run = settled(machine)
    machine.others = 2
    run.work(1)
    run.work(60, tokens=512)
    assert machine.seconds(2, 512) < machine.seconds(1, 512)
    assert run.work(30, tokens=512) > 0.9 * run.best(512)
    run.work(5)
    assert run.controller.decode == 1


def test_kinds_have_counts_of_their_own():
    controller = ThreadController(2)
    now = 0.0
    for _ in range(4000):
        for tokens in (1, 512):
            threads = controller.choose(tokens, now, IDLE)
            took = 0.01 * threads if tokens == 1 else 0.05 / threads
            now += took
            controller.observe(tokens, took, now)
    assert (controller.decode, controller.prefill) == (1, 2)


def test_background_noise_of_half_a_core_does_not_flap():
    free = FreeCores(4)
    counts = [free.follow(t / 10, LoadSample(0.5 + 0.09 * (-1) ** t, 4.0)) for t in range(100)]
    assert len(set(counts)) == 1


def test_after_a_pause_the_first_look_at_the_machine_decides():
    free = FreeCores(4)
    assert free.follow(0.0, LoadSample(2.0, 4.0)) == 2
    assert free.follow(9.0, LoadSample(2.0, 4.0, rested=True)) == 2
    assert free.follow(9.1, LoadSample(0.0, 4.0)) == 4
    assert free.follow(20.0, LoadSample(0.0, 4.0, rested=True)) == 4
    assert free.follow(20.1, LoadSample(2.0, 4.0)) == 2
    assert free.follow(20.2, LoadSample(0.0, 4.0)) == 2, "without a pause it takes patience"


def test_our_own_growth_on_a_full_machine_is_not_taken_for_quiet():
    free = FreeCores(64)
    for t in range(20):
        free.follow(t / 10, LoadSample(61.0, 64.0, idle_cores=0.0))
    for t in range(20, 60):
        free.follow(t / 10, LoadSample(32.0, 64.0, idle_cores=0.0))
    assert free.cores == 3


def test_candidates_are_all_small_counts_and_few_large_ones():
    assert candidates(1) == [1]
    assert candidates(6) == [1, 2, 3, 4, 5, 6]
    assert candidates(12) == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12]
    assert len(candidates(128)) < 26
    for most in range(1, 130):
        assert candidates(most)[-1] == most


def test_one_core_needs_no_thought():
    controller = ThreadController(1)
    for step in range(100):
        assert controller.choose(1, step * 0.1, LoadSample(5.0, 1.0)) == 1
        controller.observe(1, 0.01 * (1 + step % 7), step * 0.1 + 0.05)


def test_large_models_share_a_full_machine_instead_of_crawling_on_one_core():
    run = settled(Machine(2, step=0.6))
    run.machine.others = 4
    run.work(5)
    assert run.work(30) > 0.9 * run.best()


def test_a_collapse_while_calibrating_does_not_make_steps_look_long():
    machine = Machine(2, step=0.03, barriers=100)
    machine.others = 2
    table = {(2, 1): 0.35, (2, 48): 0.7}
    run = Run(machine, ThreadController(2, Calibration(2, 2, table)))
    run.work(1)
    begun = len(run.used)
    run.work(30)
    assert all(count == 1 for _, count in run.used[begun:])


@pytest.mark.parametrize("tokens", [1, 8])
def test_a_count_from_a_disturbed_measurement_is_doubted_on_a_calm_machine(tokens: int):
    machine = Machine(2, step=0.01)
    wrong = Calibration(decode=1, prefill=1, table={(1, 1): 0.011, (1, 512): 3.0})
    run = Run(machine, ThreadController(2, wrong))
    run.work(1.5, tokens)
    assert {count for _, count in run.used[-3:]} == {2}
