"""Time some steps of a model, or of a stand-in for it, in a process of its own.

`python -m ai_assistant.engine.trial` reads one `Trial` as JSON and writes one `TrialReport`. A
driver that crashes takes this process with it and nobody else.
"""

import os
import sys
import time
from array import array
from itertools import groupby

import msgspec

from ai_assistant.engine.kernels import Context, LoadError, Model, NoRoom
from ai_assistant.engine.kernels.context import DecodeError
from ai_assistant.engine.kernels.libllama import memory
from ai_assistant.protocol.layout import Case, Timed, Trial, TrialReport

LEAST, MOST = 2, 40
"""Repetitions of one case."""
LONG = 5.0
"""Seconds from which a case is not repeated at all."""


def run(trial: Trial) -> TrialReport:
    """Load, time, report; what the kernels refuse is an `error`, not an exception."""
    memory.clear()
    begun = time.perf_counter()
    try:
        model = Model(trial.path, gpu_layers=trial.gpu_layers, share_weights=trial.share_weights)
        context = _context(model, trial)
        loaded = time.perf_counter() - begun
        times = tuple(_times(context, trial))
    except (LoadError, NoRoom, DecodeError, MemoryError) as error:
        return TrialReport(error=str(error) or type(error).__name__, memory=dict(memory))
    return TrialReport(times=times, load_seconds=loaded, memory=dict(memory))


def _context(model: Model, trial: Trial) -> Context:
    cells = max(case.depth + case.tokens for case in trial.cases) + 1
    return Context(
        model,
        cells=-(-cells // 256) * 256,
        sequences=1,
        chunk=trial.chunk,
        outputs=1,
        threads=trial.threads,
        threads_batch=trial.threads,
        kv_type=trial.kv_type,
    )


def _times(context: Context, trial: Trial) -> list[Timed]:
    """The cases by depth, so that each depth is filled once."""
    times: list[Timed] = []
    filled = 0
    for depth, cases in groupby(sorted(trial.cases, key=lambda one: one.depth), _depth):
        while filled < depth:
            count = min(depth - filled, trial.chunk)
            _step(context, filled, count)
            filled += count
        times += [Timed(case, _seconds(context, case, trial)) for case in cases]
    return times


def _depth(case: Case) -> int:
    return case.depth


def _seconds(context: Context, case: Case, trial: Trial) -> float:
    """The time of a step in peace: the least. Others only ever make it slower."""
    first = _timed(context, case, trial)  # touches pages, builds graphs
    if first > LONG:
        return first
    seconds = [_timed(context, case, trial) for _ in range(LEAST)]
    while len(seconds) < MOST and sum(seconds) < trial.seconds:
        seconds.append(_timed(context, case, trial))
    return min(seconds)


def _timed(context: Context, case: Case, trial: Trial) -> float:
    """Seconds of a step of so many tokens, computed in pieces where the chunk is smaller."""
    begun = time.perf_counter()
    for start in range(0, case.tokens, trial.chunk):
        count = min(trial.chunk, case.tokens - start)
        _step(context, case.depth + start, count)
    seconds = time.perf_counter() - begun
    if case.depth:
        context.trim(0, case.depth)
    else:
        context.clear()
    return seconds


def _step(context: Context, start: int, count: int) -> None:
    batch = context.batch
    batch.clear()
    batch.add(0, start, array("i", [0] * count), 1)
    context.decode(batch)
    context.logits(1)[0, 0]


def main() -> None:
    """Standard input to standard output; the kernels' log goes to standard error."""
    answer = os.dup(1)
    os.dup2(2, 1)
    trial = msgspec.json.decode(sys.stdin.buffer.read(), type=Trial)
    os.write(answer, msgspec.json.encode(run(trial)))


if __name__ == "__main__":
    main()
