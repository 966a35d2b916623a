"""What an engine leaves alone: threads, slots, guesses, time. The answers stay the same."""

import time

import pytest
from tests.engine.conftest import MakeBench

from ai_assistant.engine.pace.load import LoadSample
from ai_assistant.engine.pace.threads import ThreadController
from ai_assistant.engine.restraint import LONGEST, Restrained
from ai_assistant.protocol.frames import Limit
from ai_assistant.protocol.power import Restraint

PROMPTS = [f"Word by word, number {index} says" for index in range(4)]


def answers(bench: MakeBench, restraint: Restraint | None, **plan: int) -> dict[str, str]:
    one = bench(**plan)
    if restraint:
        one.orders.arrivals.put(Limit(restraint))
    for index, prompt in enumerate(PROMPTS):
        one.ask(str(index), prompt, max_tokens=12)
    said = one.run()
    return {name: said.text(name) for name in said.chunks}


def test_answers_do_not_change_under_restraint(steady_bench: MakeBench):
    restraint = Restraint(threads=1, slots=1, speculation=False, work=0.5)
    assert answers(steady_bench, restraint) == answers(steady_bench, None)


def test_slots_and_guesses_are_left_alone_and_come_back(bench: MakeBench):
    one = bench(slots=4)
    one.orders.arrivals.put(Limit(Restraint(slots=2, speculation=False)))
    for index in range(4):
        one.ask(str(index), "A rose is a rose is a rose is a rose is a", max_tokens=16)
    seen: list[int] = []
    one.engine._parts.guesses.add = _watched(one.engine._parts.guesses.add, one, seen)  # type: ignore[method-assign]
    one.engine._batcher._guess = one.engine._parts.guesses.add
    one.run()
    assert max(seen) == 2
    assert one.engine._parts.guesses.drafted == 0
    one.orders.arrivals.put(Limit(Restraint()))
    for index in range(4):
        one.ask(f"again {index}", "A rose is a rose is a rose is a rose is a", max_tokens=16)
    seen.clear()
    one.run()
    assert max(seen) == 4


def _watched(add, one, seen: list[int]):  # type: ignore[no-untyped-def]
    def watched(parts, room):  # type: ignore[no-untyped-def]
        seen.append(len(one.engine._batcher.running))
        return add(parts, room)

    return watched


def test_an_engine_rests_for_its_share_of_the_time(bench: MakeBench):
    def seconds(work: float) -> tuple[float, float]:
        one = bench()
        one.orders.arrivals.put(Limit(Restraint(work=work, speculation=False)))
        one.ask("a", PROMPTS[0], max_tokens=48)
        begun, used = time.perf_counter(), time.process_time()
        one.run()
        return time.perf_counter() - begun, time.process_time() - used

    elapsed, used = seconds(0.2)
    assert used / elapsed < 0.5  # others may slow it down, which only lowers this


def test_rests_are_no_longer_than_a_reader_s_patience():
    restrained = Restrained()
    assert not restrained.rests
    restrained.restraint = Restraint(work=0.0)
    assert restrained.rest_after(1000.0) == LONGEST
    restrained.restraint = Restraint(work=0.5)
    assert restrained.rest_after(0.01) == pytest.approx(0.01)


def test_threads_stay_below_what_is_allowed_however_long_a_step_is():
    controller = ThreadController(8)
    calm = LoadSample(0.0, 8.0)
    controller.allow(3)
    counts: set[int] = set()
    for step in range(400):
        tokens = (1, 16, 512)[step % 3]
        counts.add(controller.choose(tokens, 0.5 * step, calm))
        controller.observe(tokens, 0.4, 0.5 * step + 0.4)
    assert max(counts) <= 3
    controller.allow(8)
    later = {controller.choose(512, 200.0 + 0.5 * step, calm) for step in range(20)}
    assert max(later) > 3
