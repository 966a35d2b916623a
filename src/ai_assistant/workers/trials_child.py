"""Times steps of models, or of stand-ins for them, in a process of its own.

`python -m ai_assistant.workers.trials_child` reads a `Trial` from each line and answers it with a
`TrialReport` on one. A driver is started once for all of them, a model is loaded once for trials
in a row that only want another context, and what lies before a deep step is computed once. A
driver that crashes takes this process with it and nobody else.
"""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

import msgspec
import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from ai_assistant.engine.kernels import Context, LoadError, Model, NoRoom
from ai_assistant.engine.kernels.context import DecodeError
from ai_assistant.engine.kernels.devices import devices
from ai_assistant.engine.kernels.libllama import memory
from ai_assistant.engine.kernels.placement import Placement
from ai_assistant.protocol.layout import Case, Timed, Trial, TrialReport

LEAST, MOST = 1, 20
"""Repetitions of one case in one pass, beyond the first."""
SMALL, COLD = 16, 5
"""Tokens of a step that begins with a cold cache if it should, and repetitions of such a one."""
SLOW, LONG = 0.3, 5.0
"""Seconds from which a pass takes a case once, and from which one pass must do."""
USUAL = 1.2
"""Times that a token of a larger step takes at most, of one of a smaller step."""
UNKNOWN = float("inf")
States = dict[tuple[str, str, int], NDArray[np.uint8]]
"""By path, KV type and number of tokens: on every device the same."""


class Trials:
    """Runs one after the other; keeps the latest model, and what contexts were filled with."""

    def __init__(self) -> None:
        self._free = _free()
        self._model: Model | None = None
        self._order: Trial | None = None
        self._weights: dict[str, int] = {}
        self._states: States = {}

    def run(self, trial: Trial) -> TrialReport:
        """Load, time, report; what the kernels refuse is an `error`, not an exception."""
        begun = time.perf_counter()
        context = None
        try:
            model = self._loaded(trial)
            memory.clear()
            context = context_of(model, trial)
            loaded = time.perf_counter() - begun
            times = tuple(_times(context, trial, self._states))
            taken = self._taken()
        except (LoadError, NoRoom, DecodeError, MemoryError) as error:
            return TrialReport(error=str(error) or type(error).__name__, memory=dict(memory))
        finally:
            if context:
                context.close()
        found = self._weights | memory | taken
        return TrialReport(times=times, load_seconds=loaded, memory=found)

    def _loaded(self, trial: Trial) -> Model:
        order = structs.replace(trial, **_OF_CONTEXTS)
        if self._model and order == self._order:
            return self._model
        if self._model:
            self._model.close()
            self._model = None
        memory.clear()
        self._model = Model(
            trial.path,
            gpu_layers=trial.gpu_layers,
            share_weights=trial.share_weights,
            placement=msgspec.convert(trial, Placement, from_attributes=True),
        )
        self._order, self._weights = order, dict(memory)
        return self._model

    def _taken(self) -> dict[str, int]:
        return {f"taken/{name}": max(self._free.get(name, 0) - now, 0)
                for name, now in _free().items()}  # fmt: skip


_OF_CONTEXTS = {
    "cases": (), "threads": 1, "kv_type": "", "chunk": 0, "kv_on_gpu": True, "op_offload": True,
    "tokens": 1, "nice": 0, "seconds": 0.0, "passes": 0, "cold_bytes": 0,
}  # fmt: skip
"""What a model need not be loaded anew for."""


def _free() -> dict[str, int]:
    """Bytes that the GPUs say are free."""
    return {one.name: one.memory_free for one in devices() if one.kind in ("gpu", "igpu")}


def context_of(model: Model, trial: Trial) -> Context:
    """With room for every case of the trial."""
    cells = max(case.depth * case.streams + case.tokens for case in trial.cases) + 1
    return Context(
        model,
        cells=-(-cells // 256) * 256,
        sequences=max(case.streams for case in trial.cases),
        chunk=trial.chunk,
        outputs=max(case.streams for case in trial.cases),
        threads=trial.threads,
        threads_batch=trial.threads,
        kv_type=trial.kv_type,
        kv_on_gpu=trial.kv_on_gpu,
        op_offload=trial.op_offload,
    )


def _times(context: Context, trial: Trial, states: States) -> list[Timed]:
    """The cases by depth, so that each depth is filled once."""
    times: list[Timed] = []
    steps = Steps(context, trial, states)
    for depth, cases in groupby(sorted(trial.cases, key=by_depth), lambda one: one.depth):
        steps.fill(depth)
        times += _passes(steps, list(cases), trial)
    return times


def by_depth(case: Case) -> tuple[int, int]:
    """The order in which each depth is filled once."""
    return case.depth, case.streams


def _passes(steps: "Steps", cases: list[Case], trial: Trial) -> list[Timed]:
    """The least time of each: others only ever make a step slower."""
    best = dict.fromkeys(cases, UNKNOWN)
    for _ in range(trial.passes):
        usual = 0.0
        for case in cases:
            if best[case] <= LONG or best[case] == UNKNOWN:
                found = _seconds(steps, case, trial.seconds / trial.passes, usual * case.tokens)
                best[case] = min(best[case], found)
            usual = USUAL * best[case] / case.tokens
    return [Timed(case, seconds) for case, seconds in best.items()]


def _seconds(steps: "Steps", case: Case, budget: float, usual: float) -> float:
    """The time of a step in peace: the least. `usual`: what it would take if its tokens took as
    long as those of a smaller step; more is a disturbance, or a driver that prepares something."""
    steps.open(case)
    first = steps.timed(case)  # touches pages, builds graphs
    if first > SLOW:
        return first if first > LONG or first <= usual else min(first, steps.timed(case))
    seconds = [steps.timed(case) for _ in range(LEAST)]
    while len(seconds) < (COLD if steps.cold(case) else MOST) and sum(seconds) < budget:
        seconds.append(steps.timed(case))
    return min(seconds)


class Steps:
    """A context that is brought back to the same depth after each step."""

    def __init__(self, context: Context, trial: Trial, states: States) -> None:
        self._context = context
        self._trial = trial
        self._states = states
        self._depth = 0
        self._open = 1
        self._state: NDArray[np.uint8] | None = None
        self._said = 0
        elsewhere = np.ones(trial.cold_bytes // 8, np.int64)
        self._elsewhere = np.array_split(elsewhere, trial.threads)
        self._readers = ThreadPoolExecutor(trial.threads)

    def cold(self, case: Case) -> bool:
        """Whether no weights lie in a cache when this step begins."""
        return self._trial.cold_bytes > 0 and case.tokens <= SMALL

    def _cool(self) -> None:
        """By all cores: one alone takes so long that the others fall asleep."""
        list(self._readers.map(np.sum, self._elsewhere))

    def fill(self, depth: int) -> None:
        """Let the first sequence have so many tokens, and no other one any."""
        for sequence in range(1, self._open):
            self._context.drop(sequence)
        self._open = 1
        if depth:
            self._state = self._filled(depth)
        self._depth = depth

    def _filled(self, depth: int) -> NDArray[np.uint8]:
        name = (self._trial.path, self._trial.kv_type, depth)
        known, chunk = self._states.get(name), self._trial.chunk
        if known is not None:
            self._context.drop(0)
            if self._context.restore(0, known):
                return known
            self._depth = 0
        for start in range(self._depth, depth, chunk):
            self._step([(0, start, min(depth - start, chunk))])
        self._states[name] = self._context.save(0)
        return self._states[name]

    def open(self, case: Case) -> None:
        """Give each of the case's streams a copy of the first sequence; no others are there."""
        for sequence in range(case.streams, self._open):
            self._context.drop(sequence)
        for sequence in range(self._open, case.streams):
            self._reset(sequence)
        self._open = case.streams

    def timed(self, case: Case) -> float:
        """Seconds of a step of so many tokens, computed in pieces where the chunk is smaller."""
        if self.cold(case):
            self._cool()
        begun = time.perf_counter()
        if case.streams > 1:
            each = case.tokens // case.streams
            self._step([(number, self._depth, each) for number in range(case.streams)])
        else:
            for start in range(0, case.tokens, self._trial.chunk):
                count = min(self._trial.chunk, case.tokens - start)
                self._step([(0, self._depth + start, count)])
        seconds = time.perf_counter() - begun
        for sequence in range(case.streams):
            if not self._depth or not self._context.trim(sequence, self._depth):
                self._reset(sequence)
        return seconds

    def _reset(self, sequence: int) -> None:
        self._context.drop(sequence)
        if self._state is not None and not self._context.restore(sequence, self._state):
            raise NoRoom

    def _step(self, pieces: list[tuple[int, int, int]]) -> None:
        """Sequence, position and tokens of each. Each step says something else: a mixture that
        heard the same again would use the same experts, and they would lie in a cache."""
        batch, variety = self._context.batch, self._trial.tokens
        batch.clear()
        for sequence, start, count in pieces:
            said = range(self._said, self._said + count)
            batch.add(sequence, start, [token % variety for token in said], 1)
            self._said += count
        self._context.decode(batch)
        self._context.logits(len(pieces))[0, 0]


def main() -> None:
    """Standard input to standard output; the kernels' log goes to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    trials, nice = Trials(), 0
    for line in sys.stdin.buffer:
        trial = msgspec.json.decode(line, type=Trial)
        if trial.nice > nice and hasattr(os, "nice"):
            os.nice(trial.nice - nice)
            nice = trial.nice
        answers.write(msgspec.json.encode(trials.run(trial)) + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
