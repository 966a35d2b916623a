"""A machine on which every step takes exactly what it should, but while others are busy."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from ai_assistant.protocol.layout import Case, Timed, Trial, TrialReport

LAYER, OUTSIDE, LOOKING = 1e-5, 2e-5, 1e-9
TILES = 64
"""Tokens of a step that looks back within itself."""


def seconds(case: Case, layers: int, threads: int, kv_type: str) -> float:
    """In peace: a q8_0 cache looks back at half the pace."""
    looking = LOOKING * (2 if kv_type == "q8_0" else 1)
    within = case.tokens / 2 if case.streams == 1 and case.tokens >= TILES else 0
    return case.tokens * (layers * (LAYER + looking * (case.depth + within)) + OUTSIDE) / threads


class Clockwork:
    """Runs no kernels; `slower` says by what the n-th trial is disturbed."""

    def __init__(
        self, slower: Callable[[int], float] = lambda _turn: 1.0, busy: Callable[[], float] = float
    ) -> None:
        self.trials: list[Trial] = []
        self._slower = slower
        self._busy = busy

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def run(self, trial: Trial) -> TrialReport:
        """At once."""
        factor = self._slower(len(self.trials))
        self.trials.append(trial)
        layers = int(Path(trial.path).stem)
        times = tuple(
            Timed(case, factor * seconds(case, layers, trial.threads, trial.kv_type))
            for case in trial.cases
        )
        return TrialReport(times=times, memory={"compute/CPU": 1000 + len(trial.cases)})

    def others(self) -> float:
        """As the test says."""
        return self._busy()
