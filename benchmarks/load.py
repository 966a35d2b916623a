"""How long a model takes from disk to its first token: ours beside libllama's own loader, which
has llama.cpp's own kernels.

`python -m benchmarks.load --models 7b`: each load is a process of its own, its file out of the page
cache before. With --readahead 128 the disk's readahead is set to Linux's default meanwhile, which
takes root, and put back.
"""

import argparse
import contextlib
import json
import signal
import statistics
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

from ai_assistant.engine.loading import load
from ai_assistant.protocol.engine_plan import EnginePlan
from benchmarks import llama_server
from benchmarks.cold import buffered, direct, drop, touch_memory
from benchmarks.kernel_pair import with_kernels
from benchmarks.report import Record, publish
from benchmarks.source import BENCH

ROUNDS = 3
KINDS = ("as it comes", "mapped")
"""By default, when kernels may copy weights to rearrange them for this processor, and with the
file's own pages as weights in any case."""


def main() -> None:
    """The table, and benchmarks/results/load.json."""
    arguments = _arguments()
    if arguments.child:
        _child(*arguments.child)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    records: list[Record] = []
    with _readahead(arguments.readahead, BENCH / "models"):
        for name in arguments.models:
            records += _measured(BENCH / "models" / f"{name}.gguf", arguments.rounds)
    window = f", readahead {arguments.readahead} KiB" if arguments.readahead else ""
    name = f"load_{arguments.readahead}" if arguments.readahead else "load"
    publish(name, records, notes=[f"median of {arguments.rounds} rounds, cold{window}"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", nargs="*", default=["7b"])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--readahead", type=int, default=0)
    parser.add_argument("--child", nargs=3)
    return parser.parse_args()


def _measured(path: Path, rounds: int) -> list[Record]:
    size = path.stat().st_size
    disk: dict[str, list[float]] = {"past the cache": [], "into the cache": []}
    took: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(rounds):
        disk["past the cache"].append(direct(path))
        disk["into the cache"].append(buffered(path))
        for kind in KINDS:
            for who in ("ours", "libllama"):
                touch_memory(2 * size)
                drop(path)
                took.setdefault((who, kind), []).append(_loaded(who, kind, path))
    return [*_of_disk(path, disk), *_of_loads(path, size, disk, took)]


def _of_disk(path: Path, disk: dict[str, list[float]]) -> list[Record]:
    return [
        Record(f"{path.stem}: 8 readers {how}", statistics.median(rates) / 1e9, "GB/s")
        for how, rates in disk.items()
    ]


def _of_loads(
    path: Path,
    size: int,
    disk: dict[str, list[float]],
    took: dict[tuple[str, str], list[tuple[float, float]]],
) -> Iterator[Record]:
    bandwidth = statistics.median(disk["past the cache"])
    for kind in KINDS:
        ours, theirs = (
            [statistics.median(times) for times in zip(*took[who, kind], strict=True)]
            for who in ("ours", "libllama")
        )
        ratio = theirs[0] / ours[0]
        yield Record(
            f"{path.stem}: {kind}, loaded", ours[0], "s", theirs[0], ratio,
            "≥ 1.5 of libllama's", ratio >= 1.5,
        )  # fmt: skip
        yield Record(
            f"{path.stem}: {kind}, first token", ours[1], "s", theirs[1], theirs[1] / ours[1]
        )
        share = size / ours[0] / bandwidth
        yield Record(
            f"{path.stem}: {kind}, rate", size / ours[0] / 1e9, "GB/s", bandwidth / 1e9, share,
            "≥ 0.9 of the disk's", share >= 0.9,
        )  # fmt: skip


def _loaded(who: str, kind: str, path: Path) -> tuple[float, float]:
    command = [sys.executable, "-m", "benchmarks.load", "--child", who, kind, str(path)]
    kernels = with_kernels(None if who == "ours" else llama_server.build())
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=kernels)
    loaded, first = json.loads(done.stdout.splitlines()[-1])
    return loaded, first


def _child(who: str, kind: str, path: str) -> None:
    """One load, and one token."""
    from ai_assistant.engine.kernels import Context, Model

    plan = EnginePlan(
        model_path=path, context_limit=256, cells=256, slots=1, retained=1, chunk=64, threads=2,
        threads_batch=2, gpu_layers=0, share_weights=kind == "mapped",
    )  # fmt: skip
    begun = time.perf_counter()
    if who == "ours":
        model = load(plan, lambda _done: None)
    else:
        model = Model(path, gpu_layers=0, share_weights=kind == "mapped")
    loaded = time.perf_counter() - begun
    context = Context(
        model, cells=256, sequences=2, chunk=64, outputs=2, threads=2, threads_batch=2
    )
    context.batch.add(0, 0, array("i", [1]), 1)
    context.decode(context.batch)
    context.logits(1)[0, 0]
    print(json.dumps([loaded, time.perf_counter() - begun]), flush=True)


@contextlib.contextmanager
def _readahead(kilobytes: int, folder: Path) -> Iterator[None]:
    """The disk below `folder` reads so far ahead while the body runs; 0: as it is."""
    device = folder.stat().st_dev
    setting = Path(f"/sys/dev/block/{device >> 8 & 0xFFF}:{device & 0xFF}/bdi/read_ahead_kb")
    before = setting.read_text() if kilobytes else ""
    try:
        if kilobytes:
            setting.write_text(str(kilobytes))
        yield
    finally:
        if kilobytes:
            setting.write_text(before)


if __name__ == "__main__":
    main()
