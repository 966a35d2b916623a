"""Steps of a model, timed in turns by two processes: our kernels and llama.cpp's own.

One has the kernels that `make setup` built (or those of `LLAMA_CPP_LIB_PATH`), the other those of
`llama-server`, built from the same source without our parts.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks import llama_server
from benchmarks.report import Record
from benchmarks.rounds import in_turns


def with_kernels(libraries: Path | None) -> dict[str, str]:
    """The environment of a process that takes the kernels in this folder; None: those it has."""
    # The second: libraries that were built elsewhere find each other in their folder.
    ways = ("LLAMA_CPP_LIB_PATH", "LD_LIBRARY_PATH")
    chosen = dict.fromkeys(ways, str(libraries)) if libraries else {}
    return os.environ | chosen  # noqa: TID251 (handed on, not read)


class Process:
    """One set of kernels; runs `python -m MODULE --child MODEL`."""

    def __init__(self, module: str, model: Path, libraries: Path | None) -> None:
        self._child = subprocess.Popen(
            (sys.executable, "-m", module, "--child", str(model)),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=with_kernels(libraries),
        )  # fmt: skip

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.wait()

    def seconds(self, step: str) -> float:
        """Of the step with this name."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        print(step, file=self._child.stdin, flush=True)
        said = self._child.stdout.readline()
        if not said:
            raise RuntimeError(f"the process that times {step!r} has ended: see what it said above")
        return float(json.loads(said))


def child() -> Path | None:
    """The model, in a process that `Process` started."""
    return Path(sys.argv[2]) if sys.argv[1:2] == ["--child"] else None


def answer(seconds: Callable[[str], float]) -> None:
    """In a child: time the steps that standard input names."""
    for line in sys.stdin:
        print(json.dumps(seconds(line.strip())), flush=True)


def threads() -> int:
    """As many as this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2


def compare(
    module: str, model: str, path: Path, steps: Iterable[str], rounds: int
) -> Iterator[Record]:
    """One record for each step, in milliseconds; the ratio is theirs by ours, the median over
    rounds. A first round only warms up."""
    with ExitStack() as both:
        ours = both.enter_context(Process(module, path, None))
        theirs = both.enter_context(Process(module, path, llama_server.build()))
        for step in steps:
            found: dict[Process, list[float]] = {ours: [], theirs: []}
            for turn in range(-1, rounds):
                for one in in_turns((ours, theirs), turn):
                    seconds = one.seconds(step)
                    if turn >= 0:
                        found[one].append(seconds)
            ratios = [b / a for a, b in zip(found[ours], found[theirs], strict=True)]
            mine, other = (1e3 * statistics.median(found[one]) for one in (ours, theirs))
            yield Record(f"{model}: {step}", mine, "ms", other, statistics.median(ratios))
