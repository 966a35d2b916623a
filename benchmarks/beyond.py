"""A model of 1.5 times the memory limit: what it writes, beside the kernels left to themselves.

`python -m benchmarks.beyond --model 7b`: in a control group with a limit, which takes root or a
delegated group. The disk is measured in the same run.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from array import array
from pathlib import Path

from msgspec import structs

from ai_assistant.devices.beyond import lay, predict
from ai_assistant.engine.loading import load
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.store.models import read_model
from ai_assistant.workers.beyond import disk_speed
from benchmarks.cgroup import Group, limited
from benchmarks.cold import direct, drop
from benchmarks.report import Record, publish
from benchmarks.source import BENCH

TIMES = 1.5
BAR = 0.7
TOKENS = 12
SKIPPED = 3
"""First tokens that are not counted: the layers' names are learnt, what stays is read."""


def main() -> None:
    """The table, and benchmarks/results/beyond.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="7b")
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--resident", type=int, default=0, help="bytes; 0: as predicted")
    parser.add_argument("--child", nargs=2)
    arguments = parser.parse_args()
    if arguments.child:
        _child(*arguments.child, arguments.tokens, arguments.threads, arguments.resident)
        return
    path = BENCH / "models" / f"{arguments.model}.gguf"
    records, notes = _measured(path, arguments.tokens, arguments.threads)
    publish("beyond", records, notes=notes)


def _measured(path: Path, tokens: int, threads: int) -> tuple[list[Record], list[str]]:
    size = path.stat().st_size
    limit = int(size / TIMES)
    drop(path)
    disk = direct(path)
    ours, group = run("ours", path, limit, tokens, threads)
    theirs, _ = run("libllama", path, limit, tokens, threads)
    speed, other = 1 / statistics.median(ours["seconds"]), 1 / statistics.median(theirs["seconds"])
    touched, streamed = ours["touched"], ours["streamed"]
    whole, strict = speed / (disk / touched), speed / (disk / streamed)
    bar = f"≥ {BAR} of disk / bytes"
    records = [
        Record("disk, 8 readers past the cache", disk / 1e9, "GB/s"),
        Record("weights touched by a token", touched / 1e9, "GB"),
        Record("of these from disk", streamed / 1e9, "GB"),
        Record("tokens per second", speed, "1/s", other, speed / other),
        Record("against disk / touched", speed, "1/s", disk / touched, whole, bar, whole >= BAR),
        Record("against disk / from disk", speed, "1/s", disk / streamed, strict, bar,
               strict >= BAR),
        Record("disk, as the loader reads", ours["disk"] / 1e9, "GB/s"),
        Record("predicted to come from disk", ours["foreseen"] / 1e9, "GB", streamed / 1e9,
               ours["foreseen"] / streamed),
        Record("predicted", ours["predicted"], "1/s", speed, ours["predicted"] / speed),
        Record("most memory of the group", group["peak"] / 1e9, "GB", limit / 1e9,
               group["peak"] / limit),
        Record("in swap", group["swapped"], "bytes", bar="none", holds=group["swapped"] == 0),
        Record("ended for want of memory", group["killed"], "", bar="none",
               holds=group["killed"] == 0),
    ]  # fmt: skip
    notes = [
        f"limit {limit / 1e9:.2f} GB = file of {size / 1e9:.2f} GB / {TIMES}; {threads} thread(s)",
        f"ours, s per token: {', '.join(f'{one:.2f}' for one in ours['seconds'])}",
        f"mmap alone, s per token: {', '.join(f'{one:.2f}' for one in theirs['seconds'])}",
        f"the same tokens: {ours['tokens'] == theirs['tokens']}",
    ]
    return records, notes


def run(
    who: str, path: Path, limit: int, tokens: int, threads: int, resident: int = 0
) -> tuple[dict, dict]:
    """What a child found, and its group."""
    drop(path)
    command = [sys.executable, "-m", "benchmarks.beyond", "--child", who, str(path)]
    options = ["--tokens", str(tokens), "--threads", str(threads), "--resident", str(resident)]
    with limited(limit) as group:
        done = subprocess.run(
            [*command, *options],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            preexec_fn=lambda: _enter(group),
        )
        seen = {"peak": group.peak, "swapped": group.swapped, "killed": group.killed}
    return json.loads(done.stdout.splitlines()[-1]), seen


def _enter(group: Group) -> None:
    group.join(os.getpid())


def _child(who: str, path: str, tokens: int, threads: int, resident: int) -> None:
    """Loads under the limit and writes some tokens, one at a time."""
    from ai_assistant.engine.kernels import Context

    model_info = read_model(Path(path), "model")
    plan = EnginePlan(
        model_path=path, context_limit=256, cells=256, slots=1, retained=1, chunk=64,
        threads=threads, threads_batch=threads, gpu_layers=0, share_weights=True,
        load_mode="mmap",
    )  # fmt: skip
    size = Path(path).stat().st_size
    disk = disk_speed(path)
    found = predict(model_info, plan, int(size / TIMES), disk)
    if who == "ours" and resident:
        plan = structs.replace(plan, resident_bytes=resident)
    elif who == "ours":
        plan, _ = lay(model_info, plan, found, int(size / TIMES), 0.0)
    model = load(plan, lambda _done: None)
    context = Context(
        model, cells=256, sequences=2, chunk=64, outputs=2, threads=threads, threads_batch=threads
    )
    chosen, seconds = [1], []
    for position in range(tokens):
        context.batch.clear()
        context.batch.add(0, position, array("i", chosen[-1:]), 1)
        begun = time.perf_counter()
        context.decode(context.batch)
        chosen.append(int(context.logits(1)[0].argmax()))
        seconds.append(time.perf_counter() - begun)
    streamed = model.beyond.division.bytes_streamed if model.beyond else 0
    kept = model.beyond.division.bytes_kept if model.beyond else 0
    answer = {
        "seconds": seconds[SKIPPED:], "tokens": chosen, "streamed": streamed,
        "touched": streamed + kept, "predicted": found.tokens_per_second, "disk": found.disk,
        "foreseen": found.streamed,
    }  # fmt: skip
    print(json.dumps(answer), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
