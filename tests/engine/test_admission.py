"""Who gets a place when there are too few: classes, the floor's extra place, no vain parking."""

from tests.engine.conftest import MakeBench
from tests.engine.harness import Bench
from tests.engine.test_engine import chat, step

from ai_assistant.protocol.requests import Priority

STORY = chat("Tell me a long story.")


def one(bench: Bench, request_id: str):
    (sequence,) = bench.engine._batcher.of_request(request_id)
    return sequence


def steps(bench: Bench, count: int) -> None:
    for _ in range(count):
        step(bench)


def test_urgent_request_takes_the_place_of_a_batch_one(bench: MakeBench) -> None:
    engine = bench(slots=2, batch_floor=0.0)
    for name in ("batch0", "batch1"):
        engine.ask(name, STORY, max_tokens=40, priority=Priority.BATCH)
    steps(engine, 4)
    engine.ask("urgent", chat("Hello!"), max_tokens=4, priority=Priority.INTERACTIVE)
    steps(engine, 2)
    assert one(engine, "urgent").slot >= 0
    assert one(engine, "batch1").slot < 0
    assert engine.engine.status().preemptions == 1
    collector = engine.run()
    assert all(collector.usage(f"batch{i}").completion_tokens == 40 for i in range(2))


def test_equals_do_not_throw_each_other_out(bench: MakeBench) -> None:
    engine = bench(slots=2)
    for index in range(5):
        engine.ask(f"r{index}", STORY, max_tokens=10, priority=Priority.INTERACTIVE)
    engine.run()
    assert engine.engine.status().preemptions == 0


def test_class_whose_turn_it_is_works_although_all_places_are_taken(bench: MakeBench) -> None:
    engine = bench(slots=2, batch_floor=0.5, speculation=False)
    for index in range(4):
        engine.ask(f"urgent{index}", STORY, max_tokens=150, priority=Priority.INTERACTIVE)
    engine.ask("batch", chat("Hello!"), max_tokens=8, priority=Priority.BATCH)
    running = engine.engine._batcher.of_request
    steps(engine, 10)
    while running("batch") and any(running(f"urgent{index}") for index in range(4)):
        steps(engine, 1)
    assert any(running(f"urgent{index}") for index in range(4)), "it had to wait for all of them"
    engine.run()


def test_nobody_is_parked_where_that_would_not_help(bench: MakeBench) -> None:
    engine = bench(slots=4, cells=1024, context_limit=1000)
    engine.ask("urgent0", list(range(300, 800)), max_tokens=60, priority=Priority.INTERACTIVE)
    engine.ask("batch", list(range(1000, 1100)), max_tokens=60, priority=Priority.BATCH)
    steps(engine, 12)
    engine.ask("urgent1", list(range(2000, 2700)), max_tokens=4, priority=Priority.INTERACTIVE)
    steps(engine, 3)
    assert one(engine, "batch").slot >= 0
    assert one(engine, "urgent1").slot < 0
    collector = engine.run()
    assert not collector.failed


def test_large_waiting_request_does_not_hold_back_a_higher_class(bench: MakeBench) -> None:
    engine = bench(slots=4, cells=1024, context_limit=1000)
    engine.ask("first", list(range(300, 800)), max_tokens=100, priority=Priority.INTERACTIVE)
    steps(engine, 6)
    engine.ask("large", list(range(1000, 1900)), max_tokens=4, priority=Priority.BATCH)
    engine.ask("small", chat("Hello!"), max_tokens=4, priority=Priority.INTERACTIVE)
    steps(engine, 12)
    assert not engine.engine._batcher.of_request("small")
    assert not engine.run().failed


def test_choices_of_one_request_wait_for_their_prompt_without_parking(bench: MakeBench) -> None:
    engine = bench(slots=2, batch_floor=0.0, chunk=64)
    for name in ("batch0", "batch1"):
        engine.ask(name, STORY, max_tokens=40, priority=Priority.BATCH)
    steps(engine, 3)
    engine.ask("urgent", list(range(300, 900)), max_tokens=2, n=2, priority=Priority.INTERACTIVE)
    steps(engine, 4)
    assert engine.engine.status().preemptions == 1
    assert not engine.run().failed
