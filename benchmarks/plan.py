"""What the planner says against what is: every layout predicted, then measured, on the processor.

`python -m benchmarks.plan [--models starter 0.5b 1b moe] [--kv-types f16 q8_0] [--seconds N]
[--again] [--rounds 2]`

The planner times stand-ins of a model, a few layers of zeros; the whole model is then loaded in
each layout and the same work is timed: prompts and tokens of chats, agents and batches. Layouts
are thread counts, types of KV cache and sizes of a prompt's pieces. The error of a step is
|predicted - measured| / measured, the least of as many rounds as trials have passes. Which layout
is the best is asked of all of them side by side (`benchmarks.plan_beside`): a virtual machine's
speed changes by the second. What was measured is kept in `.bench/plan`: after `--seconds` a run
stops, and the next one goes on. For a machine with a GPU there is `benchmarks.plan_gpu`.
"""

import os
import statistics
import sys
import time
from collections.abc import Iterable
from itertools import product

import msgspec

from ai_assistant.devices.layout.predict import Bench, Layout
from ai_assistant.devices.layout.room import Limits
from ai_assistant.devices.layout.search import Wanted, best
from ai_assistant.protocol.layout import ModelAnatomy, Trial
from ai_assistant.store.anatomy import read_anatomy
from ai_assistant.workers.trials import PASSES, Measuring, Ways
from ai_assistant.workers.trials_process import TrialProcess
from benchmarks.models import ensure
from benchmarks.plan_beside import beside
from benchmarks.plan_points import SHORT, Point, cases_of, least, measured, predicted
from benchmarks.report import Record, publish
from benchmarks.rounds import arguments, judge
from benchmarks.source import BENCH

CHUNKS = (64, 128, 512)
"""The last is the planner's own on a processor; the others are there to see whether it is right."""
KINDS = ["f16", "q8_0"]
MODELS = ["starter", "0.5b", "1b", "moe"]


class Kept(msgspec.Struct, kw_only=True):
    """What is known of one model so far."""

    benches: dict[str, Bench] = {}
    points: list[Point] = []


class Measured:
    """One model; continues where an earlier run ended."""

    def __init__(self, model: str, deadline: float, rounds: int, *, again: bool) -> None:
        self.model = model
        self._rounds = rounds
        self.path = ensure(model)
        self.anatomy: ModelAnatomy = read_anatomy(self.path)
        self._deadline = deadline
        self._file = BENCH / "plan" / f"{model}.json"
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self.kept = Kept()
        if not again and self._file.exists():
            self.kept = msgspec.json.decode(self._file.read_bytes(), type=Kept)

    def run(self, kinds: list[str]) -> bool:
        """Whether all is measured with these types of KV cache."""
        if not set(kinds) <= set(self.kept.benches):
            if time.monotonic() > self._deadline:
                return False
            self._keep(kinds)
        every = [layout for kind in kinds for layout in layouts(kind)]
        with TrialProcess() as process:
            for turn, layout in product(range(self._rounds), every):
                if len(self._turns(layout)) > turn:
                    continue
                if time.monotonic() > self._deadline:
                    return False
                self._measure(process, layout)
        return self._beside(every)

    def _beside(self, every: list[Layout]) -> bool:
        """Whether these are compared."""
        points = [one for one in self.kept.points if one.layout in every]
        if all(one.beside for one in points):
            return True
        if time.monotonic() > self._deadline:
            return False
        found = beside(self.path, [one.layout for one in points], cases_of(SHORT))
        for one, seconds in zip(points, found, strict=True):
            self._put(msgspec.structs.replace(one, beside=seconds))
            said = "  ".join(f"{1e3 * second:.4g}" for second in seconds)
            self._tell(one.layout, f"side by side ms: {said}")
        self._save()
        return True

    def _put(self, point: Point) -> None:
        """In the place of what was known of this layout."""
        others = [one for one in self.kept.points if one.layout != point.layout]
        self.kept.points = [*others, point]

    def _tell(self, layout: Layout, what: str) -> None:
        pieces = f"{layout.threads} threads, {layout.kv_type}, pieces of {layout.chunk}"
        print(f"{self.model}: {pieces}; {what}", flush=True)

    def _turns(self, layout: Layout) -> tuple[tuple[float, ...], ...]:
        return next((one.turns for one in self.kept.points if one.layout == layout), ())

    def _keep(self, kinds: list[str]) -> None:
        measuring = Measuring(self.path, self.anatomy, lambda _share: None)
        ways = Ways(threads=threads(), chunk=max(CHUNKS), kv_type=kinds[0], others=tuple(kinds[1:]))
        begun = time.monotonic()
        self.kept.benches |= measuring.measure_all(ways)
        print(f"{self.model}: layers took {time.monotonic() - begun:.0f} s", flush=True)
        self._save()

    def _measure(self, process: TrialProcess, layout: Layout) -> None:
        said = predicted(self.anatomy, self.kept.benches, layout, SHORT)
        found = measured(self.path, layout, one_pass, cases=cases_of(SHORT), run=process.run)
        turns = (*self._turns(layout), found)
        self._put(
            Point(layout=layout, predicted=said, measured=least(turns), work=SHORT, turns=turns)
        )
        pairs = zip(said, found, strict=True)
        steps = "  ".join(f"{1e3 * one:.4g}/{1e3 * other:.4g}" for one, other in pairs)
        self._tell(layout, f"predicted/measured ms: {steps}")
        self._save()

    def _save(self) -> None:
        self._file.write_bytes(msgspec.json.encode(self.kept))

    def points(self) -> list[Point]:
        """With predictions as the planner makes them now."""
        return [
            msgspec.structs.replace(
                one, predicted=predicted(self.anatomy, self.kept.benches, one.layout, SHORT)
            )
            for one in self.kept.points
        ]


def one_pass(trial: Trial) -> Trial:
    """The rounds are its passes."""
    return msgspec.structs.replace(trial, passes=1)


def threads() -> tuple[int, ...]:
    """Half of the cores and all of them."""
    cores = len(os.sched_getaffinity(0))
    return tuple(sorted({max(1, cores // 2), cores}))


def layouts(kind: str) -> list[Layout]:
    """All that are compared, with one type of KV cache."""
    return [
        Layout(gpu_layers=0, threads=count, chunk=chunk, kv_type=kind)
        for count in sorted(threads(), reverse=True)
        for chunk in CHUNKS
    ]


def errors(name: str, points: list[Point]) -> Iterable[Record]:
    """How far off the predictions are, for one model or for all together."""
    for what, decode, most in (("decode", True, 10.0), ("prefill", False, 15.0)):
        found = [error for point in points for error in point.errors(decode=decode)]
        median = statistics.median(found)
        title = f"{name}: {what}, error of {len(points)} layouts, median"
        yield Record(title, median, "%", None, None, *judge(median, at_most=most))
        yield Record(f"{name}: {what}, largest error", max(found), "%", None, None)


def records(one: Measured, points: list[Point]) -> Iterable[Record]:
    """The figures of one model."""
    yield from errors(one.model, points)
    compared = [point for point in points if point.beside]
    for work in SHORT if compared else ():
        turns = {point.layout: point.turn(work, point.beside) for point in compared}
        quickest, taken = min(turns.values()), turns[choice(one.anatomy, one.kept.benches, work)]
        name = f"{one.model}: {work} turn of the layout chosen"
        yield Record(
            f"{name}, against the best", taken, "s", quickest, taken / quickest,
            *judge(taken / quickest, at_most=1.05),
        )  # fmt: skip
        if theirs := turns.get(by_llama()):
            yield Record(
                f"{name}, against llama.cpp's", taken, "s", theirs, theirs / taken,
                *judge(theirs / taken, at_least=1.0),
            )  # fmt: skip


def choice(anatomy: ModelAnatomy, benches: dict[str, Bench], work: str) -> Layout:
    """The planner's, on a processor: pieces of its own size, a KV cache that loses nothing."""
    kinds = tuple(kind for kind in KINDS if kind in benches)
    wanted = Wanted(kv_types=kinds[:1], chunks=CHUNKS[-1:])
    return best(anatomy, benches, Limits(ram=sys.maxsize), SHORT[work], wanted)[0].layout


def by_llama() -> Layout:
    """What llama.cpp's `--fit` leaves without a GPU: its defaults, and a thread for each core."""
    return Layout(gpu_layers=0, threads=max(threads()), chunk=512, kv_type="f16")


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(models=MODELS)
    parser.add_argument("--kv-types", nargs="+", default=KINDS)
    parser.add_argument("--seconds", type=float, default=3600, help="then stop, to be continued")
    parser.add_argument("--again", action="store_true", help="forget what was measured before")
    args = parser.parse_args()
    deadline = time.monotonic() + args.seconds
    found: list[Record] = []
    every: list[Point] = []
    complete = True
    for model in args.models:
        one = Measured(model, deadline, args.rounds or PASSES, again=args.again)
        complete &= one.run(args.kv_types)
        if points := one.points():
            found += records(one, points)
            every += points
    if len(args.models) > 1 and every:
        found += errors("all models", every)
    complete &= args.kv_types == KINDS and not args.quick
    publish("plan" if complete else "plan-quick", found, notes=NOTES)


NOTES = (
    *(
        f"{work}: {turn.prompt - turn.known} tokens of a prompt behind {turn.known}, then "
        f"{turn.answer} tokens, {turn.streams} at once"
        for work, turn in SHORT.items()
    ),
    "Turns are those of layouts side by side. Peers: the best of them; llama.cpp's own choice, "
    "theirs by ours.",
)


if __name__ == "__main__":
    main()
