"""Conversations that are moved while they speak, and what is heard of it."""

from tests.engine.conftest import MakeBench
from tests.engine.harness import Bench
from tests.engine.test_engine import QUESTIONS, chat, one_at_a_time, step

from ai_assistant.engine.intake import Intake
from ai_assistant.protocol.chunks import TokenLogprob
from ai_assistant.protocol.frames import EngineReport
from ai_assistant.protocol.requests import Sampling

ANSWER = 40
"""Tokens."""
GREEDY = Sampling(temperature=0, repetition_penalty=1.0)
"""All is said: another engine looks up what is left open, the harness does not."""


class Heard:
    """Keeps the reports about the move itself."""

    def __init__(self, bench: Bench) -> None:
        self.all: list[EngineReport] = []
        self._send = bench.collector.send
        bench.collector.send = self.send  # type: ignore[method-assign]
        bench.engine.intake = Intake(bench.model, bench.plan.context_limit)

    def send(self, report: EngineReport) -> None:
        self.all.append(report)
        self._send(report)

    def last(self, kind: type) -> EngineReport:
        return next(report for report in reversed(self.all) if isinstance(report, kind))


def ask_all(bench: Bench, system: str = "") -> None:
    for index, question in enumerate(QUESTIONS):
        bench.ask(f"r{index}", chat(question, system), max_tokens=ANSWER, sampling=GREEDY)


def texts(*benches: Bench) -> list[str]:
    """What all said of each request, one after the other."""
    names = [f"r{index}" for index in range(len(QUESTIONS))]
    return [
        "".join(bench.collector.text(name) for bench in benches if name in bench.collector.chunks)
        for name in names
    ]


def unmoved(make: MakeBench) -> list[list[TokenLogprob]]:
    """Each answer alone, with the runner-up of every token."""
    prompts = [chat(question) for question in QUESTIONS]
    return one_at_a_time(make(retained=0), prompts, ANSWER)


def steps(bench: Bench, count: int) -> None:
    for _ in range(count):
        step(bench)


def steps_while_busy(bench: Bench, count: int) -> None:
    bench.engine.accept()
    for _ in range(count):
        if bench.engine._batcher.busy:
            step(bench)


def order(bench: Bench, what: object) -> None:
    """Give an order about the engine, and let it act between two steps."""
    bench.orders.arrivals.put(what)
    bench.engine.accept()
    if bench.engine._asked:
        bench.engine._change()
    bench.engine._parts.cache.check_integrity()
