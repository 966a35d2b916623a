"""Plans on a GPU of which only a part may be used: predicted, chosen, compared with `--fit`.

`python -m benchmarks.plan_gpu [--models 7b] [--seconds 220]`

Splits from none to all layers are predicted and measured. Then the GPU is taken to have room for a
quarter, a half and three quarters of the model: the planner chooses by its trials; llama.cpp's
`--fit` chooses for the same room (`llama-fit-params`, its margin raised by what is taken away);
both choices are measured by the same trial. Last come variants of the layout with half of the
layers' worth of memory: threads, where weights and KV cache lie, who computes prompts.
"""

import shlex
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator

import msgspec
from msgspec import structs

from ai_assistant.devices.child import ask_kernels
from ai_assistant.devices.facts import read_cpu, read_memory
from ai_assistant.devices.gpus import Gpu, read_gpus
from ai_assistant.devices.layout.predict import TERMS, Bench, Layout, step
from ai_assistant.devices.layout.room import Limits, memory
from ai_assistant.devices.layout.room import measured as needs_of
from ai_assistant.devices.layout.search import Wanted, best, reading
from ai_assistant.devices.layout.words import where
from ai_assistant.devices.plan import CHUNKS
from ai_assistant.protocol.errors import EngineError
from ai_assistant.protocol.layout import Case, ModelAnatomy, Trial
from ai_assistant.store.anatomy import read_anatomy
from ai_assistant.workers.trials import Measuring, Ways
from benchmarks import llama_server
from benchmarks.models import ensure
from benchmarks.plan_points import LONG, Point, cases_of, measured, predicted
from benchmarks.report import Record, publish
from benchmarks.rounds import arguments, judge
from benchmarks.source import BENCH

CELLS = 8960
"""Tokens of KV cache: what the trials need for sixteen streams."""
SECONDS = 0.25
VARIANT_CASES = (Case(1, 512), Case(512))
FIT_MARGIN = 1024
"""MiB that `--fit` leaves free of its own accord."""
Change = Callable[[Trial], Trial]


def unchanged(trial: Trial) -> Trial:
    """As planned."""
    return trial


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it runs."""

    gpu: Gpu
    cores: int
    ram: int


class Round:
    """One model on one machine."""

    def __init__(self, model: str, machine: Machine, deadline: float) -> None:
        self.model = model
        self.machine = machine
        self.path = ensure(model)
        self.anatomy: ModelAnatomy = read_anatomy(self.path)
        self.deadline = deadline
        self.points: list[Point] = []
        begun = time.monotonic()
        ways = Ways(threads=(machine.cores,), gpus=(machine.gpu.name,), chunk=max(CHUNKS))
        self.bench: Bench = Measuring(self.path, self.anatomy, lambda _: None).measure(ways)
        self.trial_seconds = time.monotonic() - begun
        self.busy = ", while others computed" if self.bench.disturbed else ""
        print(f"{model}: layers were timed in {self.trial_seconds:.0f} s{self.busy}", flush=True)

    @property
    def layers(self) -> int:
        """Of the model."""
        return len(self.anatomy.layers)

    def point(self, layout: Layout, change: Change = unchanged, name: str = "") -> Point | None:
        """Predicted and measured; None where the kernels refuse or no time is left."""
        if time.monotonic() > self.deadline:
            print(f"{self.model}: no time for {name or where(self.anatomy, layout)}")
            return None
        said = predicted(self.anatomy, {"f16": self.bench}, layout, LONG)
        try:
            found = measured(self.path, layout, change, cases=cases_of(LONG), seconds=SECONDS)
        except EngineError as error:
            print(f"{self.model}: {name or where(self.anatomy, layout)}: {error}", flush=True)
            return None
        one = Point(layout=layout, predicted=said, measured=found, work=LONG)
        steps = "  ".join(f"{1e3 * a:.4g}/{1e3 * b:.4g}" for a, b in zip(said, found, strict=True))
        name = name or f"{where(self.anatomy, layout)}, pieces of {layout.chunk}"
        print(f"{self.model}: {name}; predicted/measured ms: {steps}", flush=True)
        print(f"  parts of the last: {self._parts(layout)}", flush=True)
        return one

    def _parts(self, layout: Layout) -> str:
        """What a step of the batches is predicted to be made of, in milliseconds."""
        turn = LONG["batch"]
        terms = step(
            self.anatomy, self.bench, layout, turn.streams, turn.prompt, streams=turn.streams
        )
        return "  ".join(f"{name} {1e3 * getattr(terms, name):.3g}" for name in TERMS)

    def layout(self, gpu_layers: int, **others: int) -> Layout:
        """With the machine's threads."""
        given = {"gpu_layers": gpu_layers, "threads": self.machine.cores, "cells": CELLS, **others}
        return reading(self.anatomy, msgspec.convert(given, Layout))

    def splits(self) -> None:
        """From none to all layers; large pieces, which are best where weights are fetched."""
        most = self.layers + 1
        wishes = [self.layout(count) for count in (0, most // 4, most // 2, 3 * most // 4, most)]
        wishes.append(self.layout(most // 2, chunk=2048))
        if self.anatomy.experts:
            wishes.append(self.layout(most, feeds_on_cpu=self.layers))
        self.points += [one for wish in wishes if (one := self.point(wish))]

    def room(self, share: float) -> int:
        """Bytes of the GPU that may be taken: a share of the weights, and all else it needs."""
        kv = memory(self.anatomy, self.layout(self.layers + 1), self._needs).gpu
        return int(share * self.anatomy.weights) + kv - self.anatomy.weights

    @property
    def _needs(self):
        return needs_of(self.bench, self.anatomy, max(CHUNKS))

    def choices(self, share: float) -> Iterator[Record]:
        """Ours and `--fit`'s for the same room, in turns of chats, agents and batches."""
        room = self.room(share)
        limits = Limits(ram=self.machine.ram, gpus=(room,))
        wanted = Wanted(cells=(CELLS,), chunks=CHUNKS)
        fit = self._fit(room)
        measured_before: dict[Layout, Point | None] = {}
        theirs = self.point(fit[0], fit[1], f"--fit {share:.0%}") if fit else None
        for work, turn in LONG.items():
            found = best(self.anatomy, {"f16": self.bench}, limits, turn, wanted)
            if not found:
                continue
            layout = found[0].layout
            if layout not in measured_before:
                measured_before[layout] = one = self.point(layout)
                self.points += [one] if one else []
            ours = measured_before[layout]
            if ours is None:
                continue
            mine = ours.turn(work, ours.measured)
            name = (
                f"{self.model}, {share:.0%} on the GPU: {work} turn, {where(self.anatomy, layout)}"
            )
            if theirs is None:
                yield Record(name, mine, "s")
                continue
            peer = theirs.turn(work, theirs.measured)
            yield Record(name, mine, "s", peer, peer / mine, *judge(peer / mine, at_least=1.0))

    def _fit(self, room: int) -> tuple[Layout, Change] | None:
        """What llama.cpp would choose, as a layout and what has to be added to its trial."""
        margin = (max(self.machine.gpu.free - room, 0) >> 20) + FIT_MARGIN
        program = llama_server.build() / "llama-fit-params"
        command = [program, "-m", self.path, "-c", CELLS, "-fitt", margin]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
        line = next((one for one in done.stdout.splitlines() if "-ngl" in one), "")
        print(f"{self.model}: --fit with {room / 1e9:.2f} GB says {line or done.stderr[-300:]}")
        return fit_choice(line, self.layers, self.machine.cores) if line else None

    def variants(self) -> Iterator[Record]:
        """With half of the layers' worth of memory: what makes a token quicker."""
        half = self.layout(self.layers // 2 + 1)
        alone = [self._token_and_prompt(name, self.layout(0), change)
                 for name, change in CPU_ONLY.items()]  # fmt: skip
        base = min((one[0] for one in alone if one), default=None)
        for name, layout, change in self._wishes(half):
            one = self._token_and_prompt(name, layout, change)
            if one is None or base is None:
                continue
            gain = base / one[0]
            yield Record(
                f"{self.model}, half on the GPU: a token, {name}",
                1000 * one[0],
                "ms",
                1000 * base,
                gain,
                *judge(gain, at_least=2.0),
            )
            yield Record(f"{self.model}, half: a prompt, {name}", 1000 * one[1], "ms")

    def _token_and_prompt(
        self, name: str, layout: Layout, change: Change
    ) -> tuple[float, ...] | None:
        """Seconds of both, of the whole model."""
        if time.monotonic() > self.deadline:
            print(f"{self.model}: no time for {name}")
            return None
        try:
            found = measured(self.path, layout, change, cases=VARIANT_CASES, seconds=SECONDS)
        except EngineError as error:
            print(f"{self.model}: {name}: {error}", flush=True)
            return None
        said = "  ".join(f"{1000 * seconds:.4g}" for seconds in found)
        print(f"{self.model}: {name}: token and prompt {said} ms", flush=True)
        return found

    def _wishes(self, half: Layout) -> Iterator[tuple[str, Layout, Change]]:
        cores = self.machine.cores
        yield "as planned", half, unchanged
        yield "mapped", half, changed(load_mode="mmap")
        yield "as the processor likes it", half, changed(host_buffers=False, load_mode="auto")
        for count in sorted({cores // 2, max(cores - 2, 1)}):
            yield f"{count} threads", structs.replace(half, threads=count), unchanged
        apart = self._same_bytes(half)
        yield f"feed-forward of {apart.feeds_on_cpu} layers apart", apart, unchanged
        yield (
            "the same, as it likes it", apart, changed(host_buffers=False, load_mode="auto")
        )  # fmt: skip
        yield "KV cache in main memory", half, changed(kv_on_gpu=False)
        yield "prompts by the processor", half, changed(op_offload=False)
        yield "pieces of 2048", structs.replace(half, chunk=2048), unchanged

    def _same_bytes(self, half: Layout) -> Layout:
        """All attention on the GPU, and as many feed-forward parts as fit into the same room."""
        room = memory(self.anatomy, half, self._needs).gpu
        for apart in range(self.layers + 1):
            layout = self.layout(self.layers + 1, feeds_on_cpu=apart)
            if memory(self.anatomy, layout, self._needs).gpu <= room:
                return layout
        return self.layout(self.layers + 1, feeds_on_cpu=self.layers)

    def keep(self) -> None:
        """For whoever looks for the reason of an error: what the trials and the layouts said."""
        file = BENCH / "plan" / f"gpu-{self.model}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(msgspec.json.encode({"bench": self.bench, "points": self.points}))

    def errors(self) -> Iterable[Record]:
        """Of the splits and of what was chosen."""
        for what, decode, most in (("decode", True, 10.0), ("prefill", False, 15.0)):
            errors = [error for one in self.points for error in one.errors(decode=decode)]
            if errors:
                median = statistics.median(errors)
                name = f"{self.model}: {what}, error of {len(self.points)} layouts, median"
                yield Record(name, median, "%", None, None, *judge(median, at_most=most))
                yield Record(f"{self.model}: {what}, largest error", max(errors), "%")


def changed(**values: object) -> Change:
    """A trial with other settings."""
    return lambda trial: structs.replace(trial, **values)


CPU_ONLY = {
    "processor alone": unchanged,
    "processor alone, as it likes it": changed(host_buffers=False, load_mode="auto"),
}


def fit_choice(line: str, layers: int, threads: int) -> tuple[Layout, Change]:
    """The arguments that `llama-fit-params` prints, with llama.cpp's defaults for all else."""
    words = shlex.split(line)
    given = dict(zip(words[::2], words[1::2], strict=False))
    count = int(given.get("-ngl", "-1"))
    layout = Layout(
        gpu_layers=layers + 1 if count < 0 else min(count, layers + 1),
        threads=threads,
        cells=int(given.get("-c", CELLS)),
    )
    patterns = _kept_on_cpu(given.get("-ot", ""))
    return layout, changed(on_cpu=patterns, load_mode="auto", host_buffers=True)


def _kept_on_cpu(text: str) -> tuple[str, ...]:
    """Of `pattern=BUFFER,pattern=BUFFER` the patterns of what stays in main memory."""
    pairs = [one.rpartition("=") for one in text.split(",") if one]
    return tuple(pattern for pattern, _, buffer in pairs if buffer.startswith("CPU"))


def machine() -> Machine:
    """This one. Raises `SystemExit` where there is no GPU."""
    gpus = read_gpus(ask_kernels)
    if not gpus:
        raise SystemExit("There is no GPU that the kernels can use: take benchmarks.plan.")
    return Machine(
        gpu=gpus[0],
        cores=read_cpu().compute_cores,
        ram=int(read_memory().available * 0.9),
    )


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(models=["7b"])
    parser.add_argument("--seconds", type=float, default=220, help="for all, the trials included")
    args = parser.parse_args()
    found: list[Record] = []
    here = machine()
    deadline = time.monotonic() + args.seconds
    for model in args.models:
        one = Round(model, here, deadline)
        one.splits()
        for share in (0.5, 0.25, 0.75):
            found += one.choices(share)
        one.keep()
        found += one.errors()
        found += one.variants()
        name = f"{model}: trials of the planner{one.busy}"
        found.append(Record(name, one.trial_seconds, "s"))
    publish(f"plan-gpu-{'-'.join(args.models)}", found, notes=NOTES)


NOTES = (
    "Peer of a turn: llama.cpp's --fit for the same room, with its own margin of 1 GiB, measured "
    "by the same trial; the ratio is theirs by ours.",
    "Peer of a token: the processor alone, whichever way of laying weights is quicker.",
    "Variants: a token behind 512 tokens; a prompt of 512 tokens.",
)


if __name__ == "__main__":
    main()
