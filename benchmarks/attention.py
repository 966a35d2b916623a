"""Steps of many sequences in one cache: our part of the CPU kernels against llama.cpp's own.

`python -m benchmarks.attention [--models starter 0.5b] [--rounds 12]`

Sixteen sequences, four documents of 900 tokens that four of them share each, 200 tokens of their
own behind. Steps of several kinds are computed by two processes in turns: one with the kernels that
`make setup` built, one with those of `llama-server`, built from the same source without our part.
The ratio is theirs by ours, the median over rounds.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks import llama_server
from benchmarks.models import ensure
from benchmarks.report import Record, publish
from benchmarks.rounds import arguments, in_turns

DOCUMENTS, USERS = 4, 16
SHARED, OWN = 900, 200
END = SHARED + OWN
Step = list[tuple[int, int]]
"""Sequences and how many tokens of each."""
STEPS: dict[str, Step] = {
    "one token of 1": [(0, 1)],
    "one token of each of 4 who share": [(0, 1), (4, 1), (8, 1), (12, 1)],
    "one token of each of 16": [(number, 1) for number in range(16)],
    "a token and 5 guesses of 1": [(0, 6)],
    "a token and 11 guesses of 1": [(0, 12)],
    "one token of 14, questions of 24 of 2": [*((n, 1) for n in range(14)), (14, 24), (15, 24)],
    "one token of 14, questions of 60 of 2": [*((n, 1) for n in range(14)), (14, 60), (15, 60)],
    "a prompt of 200": [(0, 200)],
    "a prompt of 500": [(0, 500)],
}


class Process:
    """One set of kernels."""

    def __init__(self, model: Path, libraries: Path | None) -> None:
        chosen = {"LLAMA_CPP_LIB_PATH": str(libraries)} if libraries else {}
        self._child = subprocess.Popen(
            (sys.executable, "-m", "benchmarks.attention", "--child", str(model)),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | chosen,  # noqa: TID251 (handed on, not read)
        )  # fmt: skip

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.wait()

    def seconds(self, name: str) -> float:
        """Of one step."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        print(name, file=self._child.stdin, flush=True)
        return float(json.loads(self._child.stdout.readline()))


def child(model: Path) -> None:
    """Time the steps that standard input names."""
    from ai_assistant.engine.kernels import Context, Model

    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
    context = Context(Model(str(model)), cells=12_288, sequences=USERS, chunk=512, outputs=32,
                      threads=threads, threads_batch=threads)  # fmt: skip
    random = np.random.default_rng(1)

    def compute(step: Step, position: int) -> None:
        context.batch.clear()
        for sequence, count in step:
            context.batch.add(sequence, position, random.integers(100, 4000, count).tolist(), 1)
        context.decode(context.batch)
        context.logits(len(step))[0, 0]

    for document in range(DOCUMENTS):
        for position in range(0, SHARED, 300):
            compute([(document, 300)], position)
        for user in range(document + DOCUMENTS, USERS, DOCUMENTS):
            context.share(document, user, SHARED)
    for user in range(USERS):
        compute([(user, OWN)], SHARED)
    for line in sys.stdin:
        step = STEPS[line.strip()]
        begun = time.perf_counter()
        compute(step, END)
        seconds = time.perf_counter() - begun
        for sequence, _ in step:
            context.trim(sequence, END)
        print(json.dumps(seconds), flush=True)


def measure(model: str, rounds: int) -> Iterator[Record]:
    """One record for each kind of step."""
    path = ensure(model)
    with ExitStack() as both:
        ours = both.enter_context(Process(path, None))
        theirs = both.enter_context(Process(path, llama_server.build()))
        for name in STEPS:
            found: dict[Process, list[float]] = {ours: [], theirs: []}
            for turn in range(-1, rounds):
                for one in in_turns((ours, theirs), turn):
                    seconds = one.seconds(name)
                    if turn >= 0:
                        found[one].append(seconds)
            ratios = [b / a for a, b in zip(found[ours], found[theirs], strict=True)]
            mine, other = (1e3 * statistics.median(found[one]) for one in (ours, theirs))
            yield Record(f"{model}: {name}", mine, "ms", other, statistics.median(ratios))


def main() -> None:
    """Print the table; write `benchmarks/results/attention.json`."""
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]))
        return
    parser = arguments(__doc__)
    parser.set_defaults(models=["starter", "0.5b"])
    chosen = parser.parse_args()
    rounds = chosen.rounds or (4 if chosen.quick else 12)
    records = [one for model in chosen.models for one in measure(model, rounds)]
    publish("attention", records, notes=["Milliseconds of a step; the ratio is theirs by ours."])


if __name__ == "__main__":
    main()
