import pytest
from tests.engine.pace.machine import Machine

from ai_assistant.engine.pace import ThreadController, calibrate
from ai_assistant.engine.pace.threads import candidates


class Clock:
    """Steps of a machine, and what they took in all."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.spent, self.steps = machine, 0.0, 0

    def __call__(self, threads: int, tokens: int) -> float:
        took = self.machine.noisy(threads, tokens)
        self.spent += took
        self.steps += 1
        return took


@pytest.mark.parametrize("cores", [1, 2, 4, 8, 64])
def test_all_cores_of_an_idle_machine_are_found(cores: int):
    clock = Clock(Machine(cores, step=0.02))
    found = calibrate(clock, candidates(cores))
    assert clock.machine.seconds(found.decode) <= 1.05 * clock.machine.seconds(cores)
    assert clock.spent < 1.6


def test_a_busy_machine_is_left_alone():
    clock = Clock(Machine(2, step=0.02))
    clock.machine.others = 1
    assert calibrate(clock, candidates(2)).decode == 1


def test_efficiency_cores_that_slow_all_down_are_not_used():
    # Four fast cores, four at a third of their speed; the work is cut into equal parts.
    machine = Machine(8, speed=lambda n: n if n <= 4 else n / 3, step=0.02)
    found = calibrate(Clock(machine), candidates(8))
    assert (found.decode, found.prefill) == (4, 4)


def test_memory_bound_decode_and_prefill_differ_only_if_it_pays():
    def seconds(threads: int, tokens: int) -> float:
        return 0.010 * (1 if tokens == 1 else tokens / threads) * (1 + 0.001 * threads)

    found = calibrate(seconds, candidates(8))
    assert found.prefill == 8
    assert found.decode == 8


@pytest.mark.parametrize("step", [0.002, 0.05, 0.6])
def test_the_budget_is_kept_up_to_a_step(step: float):
    machine = Machine(16, step=step)
    machine.others = 8
    clock = Clock(machine)
    calibrate(clock, candidates(16), budget_seconds=1.0)
    longest = max(machine.seconds(n, 48) for n in (1, 8, 16))
    assert clock.spent < 1.0 + 3 * longest


def test_the_controller_starts_from_it():
    machine = Machine(8, speed=lambda n: n if n <= 4 else n / 3)
    controller = ThreadController(8, calibrate(machine.noisy, candidates(8)))
    assert controller.choose(1, 0.0, machine.load(4)) == 4
    assert (controller.decode, controller.prefill) == (4, 4)
