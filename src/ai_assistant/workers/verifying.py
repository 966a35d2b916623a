"""Layouts tried with the whole model, a second each: the predictions' test."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from ai_assistant.devices.layout.correct import learned
from ai_assistant.devices.layout.predict import NEUTRAL, Bench, Factors, Layout, step
from ai_assistant.devices.layout.search import TURNS, Prediction, Workload
from ai_assistant.devices.plan import placed
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.layout import Case, ModelAnatomy, Timed, Trial
from ai_assistant.store.anatomy import read_anatomy
from ai_assistant.workers.trials import run_trial

SECONDS = 0.4
"""For each of the steps of a trial."""
DEPTH = 512
"""Tokens before the token that is timed."""


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of a token of an answer and of a piece of a prompt, measured and predicted."""

    layout: Layout
    turn: float
    """Seconds of a turn, by what was measured."""
    token: float
    token_predicted: float
    piece: float
    piece_predicted: float
    factors: Factors
    """What this teaches."""


def verify(
    model: Path,
    predictions: Sequence[Prediction],
    workload: Workload,
    on_progress: Callable[[float], None],
    benches: Mapping[str, Bench],
    factors: Factors = NEUTRAL,
) -> list[Verified]:
    """The quickest first. Raises `EngineError` where the kernels refuse."""
    anatomy = read_anatomy(model)
    found: list[Verified] = []
    for index, one in enumerate(predictions):
        bench = benches[one.layout.kv_type]
        found.append(_tried(model, anatomy, one, workload, bench, factors))
        factors = found[-1].factors
        on_progress((index + 1) / len(predictions))
    return sorted(found, key=lambda one: one.turn)


def trial_of(model: Path, layout: Layout, cases: tuple[Case, ...], seconds: float) -> Trial:
    """A trial of the whole model in this layout."""
    plan = EnginePlan(model_path="", context_limit=0, cells=0, slots=1, retained=0, chunk=0,
                      threads=layout.threads, threads_batch=layout.threads)  # fmt: skip
    plan = placed(plan, layout)
    return Trial(
        path=str(model),
        cases=cases,
        gpu_layers=layout.gpu_layers,
        threads=layout.threads,
        kv_type=layout.kv_type,
        chunk=layout.chunk,
        feeds_on_cpu=plan.feeds_on_cpu,
        tensor_split=plan.tensor_split,
        host_buffers=plan.host_buffers,
        load_mode=plan.load_mode,
        tokens=512,
        seconds=seconds,
    )


def _tried(
    model: Path,
    anatomy: ModelAnatomy,
    one: Prediction,
    workload: Workload,
    bench: Bench,
    factors: Factors,
) -> Verified:
    layout, turn = one.layout, TURNS[workload]
    token, piece = Case(1, DEPTH), Case(layout.chunk)
    report = run_trial(trial_of(model, layout, (token, piece), SECONDS))
    times = {timed.case: timed.seconds for timed in report.times}
    predicted = {
        case: step(anatomy, bench, layout, case.tokens, case.depth, factors=factors).total
        for case in (token, piece)
    }
    first = one.ttft * times[piece] / predicted[piece]
    each = one.tpot * times[token] / predicted[token]
    return Verified(
        layout=layout,
        turn=first + turn.answer * each / turn.streams,
        token=times[token],
        token_predicted=predicted[token],
        piece=times[piece],
        piece_predicted=predicted[piece],
        factors=_taught(anatomy, bench, layout, report.times, factors),
    )


def _taught(
    anatomy: ModelAnatomy,
    bench: Bench,
    layout: Layout,
    times: Sequence[Timed],
    factors: Factors,
) -> Factors:
    for _ in range(10):  # The least of many steps: it counts for more than a single one.
        for one in times:
            terms = step(anatomy, bench, layout, one.case.tokens, one.case.depth)
            factors = learned(factors, terms, one.seconds)
    return factors
