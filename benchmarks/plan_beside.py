"""Layouts of one model that all fit at once, compared side by side, a step of each by turns.

Layouts that are measured one after the other meet another machine: those that compute a token
alike came out up to a third apart where others use the processor too. Here whatever changes the
machine's speed meets them all.
"""

import multiprocessing
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import groupby
from pathlib import Path

from ai_assistant.devices.layout.predict import Layout
from ai_assistant.engine.kernels import Model
from ai_assistant.protocol.layout import Case
from ai_assistant.workers.trials_child import States, Steps, by_depth, context_of
from ai_assistant.workers.verifying import trial_of

BUDGET, FEWEST, MOST = 40.0, 5, 200
"""Seconds for one case of all layouts, and its turns at least and at most."""
BRIEF = 0.1
"""Seconds below which a turn is the better of two steps: the first one finds the others' cache."""


def beside(
    model: Path, layouts: Sequence[Layout], cases: Sequence[Case]
) -> list[tuple[float, ...]]:
    """Of each layout the seconds of each case, in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_beside, model, layouts, cases).result()


def _beside(
    model: Path, layouts: Sequence[Layout], cases: Sequence[Case]
) -> list[tuple[float, ...]]:
    different = sorted(set(cases), key=by_depth)
    trials = [trial_of(model, layout, tuple(different), BUDGET) for layout in layouts]
    loaded = Model(str(model), gpu_layers=0, share_weights=trials[0].share_weights)
    states: States = {}
    all_steps = [Steps(context_of(loaded, trial), trial, states) for trial in trials]
    found: dict[Case, list[float]] = {}
    for depth, some in groupby(different, lambda one: one.depth):
        for steps in all_steps:
            steps.fill(depth)
        found |= {case: _by_turns(all_steps, case) for case in some}
    return [tuple(found[case][place] for case in cases) for place in range(len(layouts))]


def _by_turns(all_steps: Sequence[Steps], case: Case) -> list[float]:
    """Seconds of each layout: its part of a turn, in the median, of a turn's median."""
    for steps in all_steps:
        steps.open(case)
    first = [_timed(steps, case) for steps in all_steps]  # touches pages, builds graphs
    count = min(max(round(BUDGET / sum(first)), FEWEST), MOST)
    turns = [_turn(all_steps, case, turn) for turn in range(count)]
    whole = statistics.median(map(sum, turns))
    return [
        whole * statistics.median(turn[place] / sum(turn) for turn in turns)
        for place in range(len(all_steps))
    ]


def _turn(all_steps: Sequence[Steps], case: Case, turn: int) -> list[float]:
    """Another one begins each time."""
    count = len(all_steps)
    seconds = [0.0] * count
    for place in range(count):
        who = (place + turn) % count
        seconds[who] = _timed(all_steps[who], case)
    return seconds


def _timed(steps: Steps, case: Case) -> float:
    first = steps.timed(case)
    return min(first, steps.timed(case)) if first < BRIEF else first
