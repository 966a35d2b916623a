"""Time some steps of a model, or of a stand-in for it, in a process of its own.

`python -m ai_assistant.engine.trial` reads one `Trial` as JSON and writes one `TrialReport`. A
driver that crashes takes this process with it and nobody else.
"""

import os
import sys
import time
from itertools import groupby

import msgspec
import numpy as np
from numpy.typing import NDArray

from ai_assistant.engine.kernels import Context, LoadError, Model, NoRoom
from ai_assistant.engine.kernels.context import DecodeError
from ai_assistant.engine.kernels.devices import devices
from ai_assistant.engine.kernels.libllama import memory
from ai_assistant.engine.kernels.placement import Placement
from ai_assistant.protocol.layout import Case, Timed, Trial, TrialReport

LEAST, MOST = 1, 20
"""Repetitions of one case in one pass, beyond the first."""
PASSES = 2
"""Over all cases of a depth: what disturbs one pass is over in the next."""
LONG, SLOW = 5.0, 0.3
"""Seconds from which a case is not repeated at all, and from which it is repeated once."""
UNKNOWN = float("inf")


def run(trial: Trial) -> TrialReport:
    """Load, time, report; what the kernels refuse is an `error`, not an exception."""
    memory.clear()
    free = _free()
    begun = time.perf_counter()
    try:
        placement = msgspec.convert(trial, Placement, from_attributes=True)
        model = Model(
            trial.path,
            gpu_layers=trial.gpu_layers,
            share_weights=trial.share_weights,
            placement=placement,
        )
        context = _context(model, trial)
        loaded = time.perf_counter() - begun
        times = tuple(_times(context, trial))
    except (LoadError, NoRoom, DecodeError, MemoryError) as error:
        return TrialReport(error=str(error) or type(error).__name__, memory=dict(memory))
    taken = {f"taken/{name}": max(free.get(name, 0) - now, 0) for name, now in _free().items()}
    return TrialReport(times=times, load_seconds=loaded, memory=memory | taken)


def _free() -> dict[str, int]:
    """Bytes that the GPUs say are free."""
    return {one.name: one.memory_free for one in devices() if one.kind in ("gpu", "igpu")}


def _context(model: Model, trial: Trial) -> Context:
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


def _times(context: Context, trial: Trial) -> list[Timed]:
    """The cases by depth, so that each depth is filled once."""
    times: list[Timed] = []
    steps = _Steps(context, trial)
    for depth, cases in groupby(sorted(trial.cases, key=_order), lambda one: one.depth):
        steps.fill(depth)
        times += _passes(steps, list(cases), trial)
    return times


def _passes(steps: "_Steps", cases: list[Case], trial: Trial) -> list[Timed]:
    """The least time of each: others only ever make a step slower."""
    best = dict.fromkeys(cases, UNKNOWN)
    for _ in range(PASSES):
        for case in cases:
            if best[case] <= LONG or best[case] == UNKNOWN:
                best[case] = min(best[case], _seconds(steps, case, trial.seconds / PASSES))
    return [Timed(case, seconds) for case, seconds in best.items()]


def _order(case: Case) -> tuple[int, int]:
    return case.depth, case.streams


def _seconds(steps: "_Steps", case: Case, budget: float) -> float:
    """The time of a step in peace: the least."""
    steps.open(case)
    first = steps.timed(case)  # touches pages, builds graphs
    if first > SLOW:
        return first if first > LONG else min(first, steps.timed(case))
    seconds = [steps.timed(case) for _ in range(LEAST)]
    while len(seconds) < MOST and sum(seconds) < budget:
        seconds.append(steps.timed(case))
    return min(seconds)


class _Steps:
    """A context that is brought back to the same depth after each step."""

    def __init__(self, context: Context, trial: Trial) -> None:
        self._context = context
        self._chunk = trial.chunk
        self._variety = trial.tokens
        self._depth = 0
        self._open = 1
        self._state: NDArray[np.uint8] | None = None

    def fill(self, depth: int) -> None:
        """Let the first sequence have so many tokens."""
        for sequence in range(1, self._open):
            self._context.drop(sequence)
        self._open = 1
        for start in range(self._depth, depth, self._chunk):
            self._step([(0, start, min(depth - start, self._chunk))])
        self._depth = depth
        self._state = self._context.save(0) if depth else None

    def open(self, case: Case) -> None:
        """Give each of the case's streams a copy of the first sequence; no others are there."""
        for sequence in range(case.streams, self._open):
            self._context.drop(sequence)
        for sequence in range(self._open, case.streams):
            self._reset(sequence)
        self._open = case.streams

    def timed(self, case: Case) -> float:
        """Seconds of a step of so many tokens, computed in pieces where the chunk is smaller."""
        begun = time.perf_counter()
        if case.streams > 1:
            each = case.tokens // case.streams
            self._step([(number, self._depth, each) for number in range(case.streams)])
        else:
            for start in range(0, case.tokens, self._chunk):
                count = min(self._chunk, case.tokens - start)
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
        """Sequence, position and tokens of each."""
        batch = self._context.batch
        batch.clear()
        for sequence, start, count in pieces:
            first = start + 7 * sequence
            batch.add(sequence, start, [(first + i) % self._variety for i in range(count)], 1)
        self._context.decode(batch)
        self._context.logits(len(pieces))[0, 0]


def main() -> None:
    """Standard input to standard output; the kernels' log goes to standard error."""
    answer = os.dup(1)
    os.dup2(2, 1)
    trial = msgspec.json.decode(sys.stdin.buffer.read(), type=Trial)
    if trial.nice and hasattr(os, "nice"):
        os.nice(trial.nice)
    os.write(answer, msgspec.json.encode(run(trial)))


if __name__ == "__main__":
    main()
