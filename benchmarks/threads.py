"""Thread counts that follow the machine, against fixed ones, beside programs that want all cores.

`python -m benchmarks.threads`. Single tokens are decoded in a loop by the real kernels. Each round
runs every way for a moment, so that a machine of changing speed is the same to all of them; ratios
are taken within a round, and their median counts.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ai_assistant.engine.kernels import Context, Model
from ai_assistant.engine.pace import Load, ThreadController, calibrate
from ai_assistant.engine.pace.threads import candidates
from benchmarks.models import BENCH, ensure
from benchmarks.report import Record, publish

CELLS = 256
ROUNDS = 5
LEAD_IN = 0.3
"""Seconds that each way runs before it is measured: the controller saw nothing in the meantime."""
MOST = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Loop:
    """Decodes token after token, as an engine with one stream does."""

    def __init__(self, path: Path) -> None:
        self._context = Context(
            Model(str(path)),
            cells=CELLS,
            sequences=1,
            chunk=64,
            outputs=1,
            threads=MOST,
            threads_batch=MOST,
        )
        self._position = 0
        self._load = Load()
        calibration = calibrate(self.step, candidates(MOST))
        self.calibrated = (calibration.decode, calibration.prefill)
        self._controller = ThreadController(MOST, calibration)

    def step(self, threads: int, tokens: int = 1) -> float:
        """Seconds of one step."""
        context = self._context
        if self._position + tokens > CELLS:
            context.clear()
            self._position = 0
        context.set_threads(threads, threads)
        context.batch.clear()
        context.batch.add(0, self._position, [5] * tokens, True)
        begun = time.perf_counter()
        context.decode(context.batch)
        context.logits(1)
        self._position += tokens
        return time.perf_counter() - begun

    def controlled(self) -> None:
        """One step as the engine's loop makes it."""
        threads = self._controller.choose(1, now := time.perf_counter(), self._load.sample(now))
        self._controller.observe(1, self.step(threads), time.perf_counter())

    def speed(self, threads: int, seconds: float) -> float:
        """Tokens per second with a fixed count, or with the controller for 0."""
        step: Callable[[], object] = (lambda: self.step(threads)) if threads else self.controlled
        _repeat(step, LEAD_IN)
        return _repeat(step, seconds)


def _repeat(step: Callable[[], object], seconds: float) -> float:
    begun, steps = time.perf_counter(), 0
    while (now := time.perf_counter()) - begun < seconds:
        step()
        steps += 1
    return steps / (now - begun)


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """So many programs that never rest."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def rounds(loop: Loop, ways: list[int], seconds: float) -> list[dict[int, float]]:
    """Tokens per second of each way in each round, in alternating order."""
    return [
        {way: loop.speed(way, seconds) for way in (ways if turn % 2 else ways[::-1])}
        for turn in range(ROUNDS)
    ]


def measure(name: str, loop: Loop, others: int, seconds: float) -> list[Record]:
    """One model beside `others` busy programs."""
    fixed = sorted({1, MOST})
    with busy(others):
        loop.speed(0, 1.0)
        found = rounds(loop, [0, *fixed], seconds)
    middle = {way: statistics.median(turn[way] for turn in found) for way in found[0]}
    best = max(fixed, key=lambda way: middle[way])
    to_best = statistics.median(turn[0] / turn[best] for turn in found)
    to_all = statistics.median(turn[0] / turn[MOST] for turn in found)
    bar = 0.9 if others else 0.97
    case = f"{name}, {others} busy"
    records = [Record(f"{case}: {n} threads", middle[n], "tokens/s") for n in fixed]
    records.append(
        Record(f"{case}: controller / best fixed ({best})", middle[0], "tokens/s", middle[best],
               to_best, f"≥ {bar}", to_best >= bar)
    )  # fmt: skip
    collapses = others >= MOST and middle[MOST] < middle[best] / 10
    records.append(
        Record(f"{case}: controller / all threads", middle[0], "tokens/s", middle[MOST],
               to_all, "≥ 10" if collapses else None, to_all >= 10 if collapses else None)
    )  # fmt: skip
    return records


def main() -> None:
    """Every model that is there, on an idle machine and on two busy ones."""
    records: list[Record] = []
    notes = [f"{ROUNDS} rounds; ratios are medians of ratios within a round."]
    models = ["starter"] + ["0.5b"] * (BENCH / "models" / "0.5b.gguf").exists()
    for name in models:
        loop = Loop(ensure(name))
        notes.append(f"{name}: calibrated to {loop.calibrated} threads (decode, prefill).")
        for others in (0, MOST // 2, MOST):
            records += measure(name, loop, others, 0.5 if name == "starter" else 0.8)
    publish("threads", records, notes=notes)


if __name__ == "__main__":
    main()
