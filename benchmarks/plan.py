"""What the planner says against what is: every layout predicted, then measured.

`python -m benchmarks.plan [--models starter 0.5b 1b] [--rounds N] [--quick]`

The planner times stand-ins of a model, a few layers of zeros; the whole model is then loaded in
each layout and the same work is timed: a token of an answer behind a prompt, and the prompt.
Layouts on a machine without a GPU are thread counts and sizes of a prompt's pieces; with one also
the number of layers on the GPU. The error of a layout is |predicted - measured| / measured.
"""

import os
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ai_assistant.devices.child import ask_kernels
from ai_assistant.devices.layout.predict import Bench, Layout, tpot, ttft
from ai_assistant.protocol.layout import Case, ModelAnatomy, Trial
from ai_assistant.store.anatomy import read_anatomy
from ai_assistant.workers.trials import Measuring, run_trial
from benchmarks.models import ensure
from benchmarks.report import Record, publish
from benchmarks.rounds import arguments, judge

PROMPT = 768
ANSWER = 250
CHUNKS = (64, 128, 512)


@dataclass(frozen=True)
class Point:
    """One layout: predicted and measured seconds of a token, and of a prompt."""

    layout: Layout
    decode: tuple[float, float]
    prefill: tuple[float, float]

    @property
    def errors(self) -> tuple[float, float]:
        """Of both, in per cent."""
        return _error(*self.decode), _error(*self.prefill)

    def turn(self, which: int) -> float:
        """Seconds of a prompt and its answer; `which`: 0 predicted, 1 measured."""
        return self.prefill[which] + ANSWER * self.decode[which]


def _error(predicted: float, measured: float) -> float:
    return 100 * abs(predicted - measured) / measured


def threads() -> tuple[int, ...]:
    """Half of the cores and all of them."""
    cores = len(os.sched_getaffinity(0))
    return tuple(sorted({max(1, cores // 2), cores}))


def gpu_name() -> str | None:
    """How the kernels call the GPU."""
    report = ask_kernels()
    found = [one for one in (report.devices if report else ()) if one.kind in ("gpu", "igpu")]
    return found[0].name if found else None


def layouts(anatomy: ModelAnatomy, gpu: str | None) -> list[Layout]:
    """All that are compared."""
    if not gpu:
        return [
            Layout(gpu_layers=0, threads=count, chunk=chunk)
            for count in threads()
            for chunk in CHUNKS
        ]
    most = len(anatomy.layers) + 1
    counts = sorted({0, most // 4, most // 2, 3 * most // 4, most - 1, most})
    return [Layout(gpu_layers=count, threads=max(threads())) for count in counts]


def measure(path: Path, anatomy: ModelAnatomy, gpu: str | None) -> list[Point]:
    """All layouts of one model: the prediction first."""
    benches: dict[int, Bench] = {}
    points: list[Point] = []
    for layout in layouts(anatomy, gpu):
        if layout.chunk not in benches:
            measuring = Measuring(path, anatomy, lambda _share: None)
            benches[layout.chunk] = measuring.measure(threads(), gpu, chunk=layout.chunk)
        bench = benches[layout.chunk]
        predicted = (
            tpot(anatomy, bench, layout, 1, PROMPT),
            ttft(anatomy, bench, layout, PROMPT),
        )
        real = _real(path, layout)
        point = Point(layout, (predicted[0], real[0]), (predicted[1], real[1]))
        points.append(point)
        print(
            f"{path.stem}: {layout.gpu_layers} GPU layers, {layout.threads} threads, pieces of "
            f"{layout.chunk}: token {1e3 * predicted[0]:.2f} ms, was {1e3 * real[0]:.2f}; "
            f"prompt {predicted[1]:.3f} s, was {real[1]:.3f}",
            flush=True,
        )
    return points


def _real(path: Path, layout: Layout) -> tuple[float, float]:
    trial = Trial(
        path=str(path),
        cases=(Case(PROMPT), Case(1, PROMPT)),
        gpu_layers=layout.gpu_layers,
        threads=layout.threads,
        chunk=layout.chunk,
        seconds=1.0,
    )
    found = {one.case: one.seconds for one in run_trial(trial).times}
    return found[Case(1, PROMPT)], found[Case(PROMPT)]


def records(model: str, points: list[Point]) -> Iterable[Record]:
    """The figures of one model."""
    for what, place, most in (("decode", 0, 10.0), ("prefill", 1, 15.0)):
        errors = [point.errors[place] for point in points]
        median = statistics.median(errors)
        name = f"{model}: {what}, error of {len(points)} layouts, median"
        yield Record(name, median, "%", None, None, *judge(median, at_most=most))
        yield Record(f"{model}: {what}, largest error", max(errors), "%", None, None)
    chosen = min(points, key=lambda point: point.turn(0))
    best = min(point.turn(1) for point in points)
    ratio = chosen.turn(1) / best
    yield Record(
        f"{model}: turn of the layout chosen, against the best one",
        chosen.turn(1),
        "s",
        best,
        ratio,
        *judge(ratio, at_most=1.05),
    )


def main() -> None:
    args = arguments(__doc__).parse_args()
    gpu = gpu_name()
    found: list[Record] = []
    for model in args.models:
        path = ensure(model)
        anatomy = read_anatomy(path)
        points: list[Point] = []
        for _ in range(args.rounds or 1):
            points += measure(path, anatomy, gpu)
        found += records(model, points)
    title = "plan-gpu" if gpu else "plan"
    publish(f"{title}-quick" if args.quick else title, found, notes=NOTES)


NOTES = (
    f"A token of an answer behind {PROMPT} tokens; a prompt of {PROMPT} tokens.",
    "Peer of `turn`: the best of the layouts measured.",
)


if __name__ == "__main__":
    main()
