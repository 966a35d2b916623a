"""A model follows its machine: memory of the GPU becomes free while streams run.

`python -m benchmarks.relayout [--model 7b] [--left 3.0] [--streams 4] [--seconds 150]`, on a
machine with a GPU.

The model's layers are timed (`ai-assistant plan`). Another program takes all of the GPU's memory
but `--left` gigabytes, a node starts and lays the model over what there is. Then so many streams
ask again and again; the other program ends; the node has to notice, to weigh and to move by itself.
Reported: tokens per second before and after, how long it took to move, the longest silence of any
stream, answers that went wrong.
"""

import argparse
import asyncio
import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks import node
from benchmarks.client import Answer, ask
from benchmarks.models import ensure
from benchmarks.prompts import Prompts
from benchmarks.report import Record, publish
from benchmarks.rounds import loaded
from benchmarks.servers import Server

TOKENS = 256
BEFORE = 10.0
"""Seconds with the first layout, and at the end with the last."""
TELL = 10.0
"""Seconds between two lines that say how it stands."""


@contextmanager
def filled(left: float) -> Iterator[subprocess.Popen[str]]:
    """Another program on the GPU."""
    command = (sys.executable, "-m", "benchmarks.gpu_filler", str(left))
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        print(f"another program holds {int(other.stdout.readline() or 0) / 1e9:.1f} GB", flush=True)
        try:
            yield other
        finally:
            empty(other)


def empty(other: subprocess.Popen[str]) -> None:
    """Its memory is free when it has ended."""
    with suppress(OSError, ValueError):
        if other.stdin is not None:
            other.stdin.close()
    other.wait(30)


def state(server: Server) -> dict[str, Any]:
    """Of the one model."""
    return server.get("/status")["models"][0]


def timed(path: Path, data: Path) -> None:
    """Times the model's layers, as an owner would: the node finds what was measured."""
    settings = (f"AI_ASSISTANT_STORE_DATA_DIR={data}", "AI_ASSISTANT_ENGINE_KV_TYPE=f16")
    subprocess.run(
        ("env", *settings, sys.executable, "-m", "ai_assistant", "plan", path), check=True
    )


async def stream(
    server: Server, number: int, until: list[float], answers: list[Answer], wrong: list[str]
) -> None:
    """Asks as long as it should."""
    for turn in itertools.count():
        if time.perf_counter() > until[0]:
            return
        try:
            answer = await ask(server, Prompts("relayout", number, turn).question(), TOKENS)
        except Exception as error:  # noqa: BLE001 - any error at all is what is counted
            wrong.append(repr(error))
            await asyncio.sleep(1)
            continue
        if answer.usage["completion_tokens"] != TOKENS:
            wrong.append(f"{answer.usage['completion_tokens']} of {TOKENS} tokens")
        answers.append(answer)


async def measure(
    server: Server, other: subprocess.Popen[str], streams: int, seconds: float
) -> list[Record]:
    """While streams run: free the memory, wait for the move."""
    answers: list[Answer] = []
    wrong: list[str] = []
    until = [float("inf")]
    before = await asyncio.to_thread(state, server)
    print(f"before: {before.get('plan')}", flush=True)
    running = [
        asyncio.create_task(stream(server, n, until, answers, wrong)) for n in range(streams)
    ]
    await asyncio.sleep(5)
    begun = time.perf_counter()
    await asyncio.sleep(BEFORE)
    freed = time.perf_counter()
    await asyncio.to_thread(empty, other)
    moved = await _moved(server, freed, seconds)
    after = time.perf_counter()
    await asyncio.sleep(BEFORE)
    until[0] = time.perf_counter()
    await asyncio.gather(*running)
    status = await asyncio.to_thread(state, server)
    print(f"after: {status.get('plan')}\nmove: {status.get('moved')}")
    print(f"power: {(await asyncio.to_thread(server.get, '/status')).get('power')}")
    longest = max((gap for one in answers for _, gap in one.silences), default=0.0)
    first, last = rate(answers, begun, freed), rate(answers, after, until[0])
    return [
        Record("tokens/s, memory taken", first, "tokens/s"),
        Record("tokens/s, memory free", last, "tokens/s", first, last / first if first else 0.0),
        Record("from free memory to the move", moved, "s", bar="moved", holds=moved > 0),
        Record("longest silence of a stream", longest, "s"),
        Record("answers", len(answers), ""),
        Record("wrong answers and errors", len(wrong), "", bar="0", holds=not wrong),
    ]


async def _moved(server: Server, since: float, seconds: float) -> float:
    """Seconds until the node had moved the model; -1: it did not."""
    told = since
    while (now := time.perf_counter()) - since < seconds:
        status = await asyncio.to_thread(state, server)
        if status.get("moved"):
            return now - since
        if now - told >= TELL:
            told = now
            print(f"{now - since:.0f} s: {status['plan']['summary']}", flush=True)
        await asyncio.sleep(1)
    return -1.0


def rate(answers: list[Answer], begun: float, ended: float) -> float:
    """Tokens per second within a time, by when pieces came."""
    pieces = [at for one in answers for at, event in one.events if event.get("choices")]
    if not pieces or ended <= begun:
        return 0.0
    tokens = sum(one.usage["completion_tokens"] for one in answers)
    inside = sum(begun <= at <= ended for at in pieces)
    return inside * tokens / len(pieces) / (ended - begun)


def main() -> None:
    """Print the table; write `benchmarks/results/relayout.json`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="7b")
    parser.add_argument("--left", type=float, default=3.0, help="gigabytes of the GPU")
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=150, help="to wait for the move")
    chosen = parser.parse_args()
    path = ensure(chosen.model)
    with node.data_folder() as data:
        timed(path, data)
        with (
            filled(chosen.left) as other,
            node.start(path, slots=8, context=4096, data=data) as server,
        ):
            asyncio.run(loaded(server))
            found = asyncio.run(measure(server, other, chosen.streams, chosen.seconds))
    publish(f"relayout-{chosen.model}", found, notes=[f"{chosen.streams} streams."])


if __name__ == "__main__":
    main()
