"""Decode of one stream while other programs want the processor.

`python -m benchmarks.contention [--models starter 0.5b 1b] [--rounds N] [--quick]`

No, half as many and as many busy programs (`while True: pass`) as the machine has cores run beside
the servers, at the same niceness. Asked in turns: our node as it is, llama-server as it is (as many
threads as physical cores), and our node with fixed thread counts, 1 and its doubles up to the
cores. The count with the best median at a load is "the best count found by hand" there: that is
known afterwards only, and changes with the load. Each server gets a short unmeasured question when
the load has changed.
"""

import asyncio
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import psutil

from benchmarks import llama_server, node
from benchmarks.client import ask
from benchmarks.models import ensure
from benchmarks.prompts import Prompts
from benchmarks.report import Record, publish
from benchmarks.rounds import SLOTS, alternate, arguments, compared, idle, rate, warm
from benchmarks.servers import Server

CONTEXT = 2048
SETTLE_SECONDS = 2.0


@dataclass(frozen=True)
class Effort:
    """How much is asked."""

    rounds: int
    tokens: int
    settle: int = 16
    """Tokens before each measured answer of the first round."""


FULL = {"starter": Effort(7, 256), "0.5b": Effort(5, 64), "1b": Effort(5, 48)}
QUICK = Effort(1, 32, settle=4)


@dataclass(frozen=True)
class Load:
    """Busy programs beside the servers, and what our rates must be then."""

    name: str
    programs: int
    against_peer: float
    against_best: float


def loads(cores: int) -> list[Load]:
    """None, half of the cores, all of them."""
    return [
        Load("idle machine", 0, 0.97, 0.97),
        Load(f"{max(1, cores // 2)} of {cores} cores busy", max(1, cores // 2), 3, 0.9),
        Load(f"{cores} of {cores} cores busy", cores, 10, 0.9),
    ]


def thread_counts(cores: int) -> list[int]:
    """1, 2, 4, …, and the number of cores."""
    doubles = (1 << power for power in range(cores.bit_length()))
    return sorted({*(count for count in doubles if count <= cores), cores})


@contextlib.contextmanager
def busy(programs: int) -> Iterator[None]:
    """So many programs that only burn time."""
    started = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(programs)
    ]
    try:
        time.sleep(SETTLE_SECONDS if programs else 0)
        yield
    finally:
        for program in started:
            program.kill()
            program.wait()


async def under(
    load: Load, model: str, servers: Sequence[Server], effort: Effort
) -> list[list[float]]:
    """Tokens per second of every server in every round."""

    async def decode(server: Server, turn: int) -> float:
        prompts = Prompts(model, load.programs, turn)
        if turn == 0:
            await ask(server, prompts.question(), effort.settle)
        return rate([await ask(server, prompts.question(), effort.tokens)])

    print(f"{model}: {load.name} …", flush=True)
    with busy(load.programs):
        return await alternate(servers, effort.rounds, decode)


def records(
    model: str, load: Load, counts: Sequence[int], rates: list[list[float]]
) -> list[Record]:
    """Against llama-server, against the best fixed count, and every count by itself."""
    ours, theirs, *fixed = rates
    best = max(range(len(counts)), key=lambda i: statistics.median(fixed[i]))
    name = f"{model}: {load.name}"
    against = f"{name}, against {counts[best]} fixed threads"
    return [
        compared(name, "tokens/s", ours, theirs, at_least=load.against_peer),
        compared(against, "tokens/s", ours, fixed[best], at_least=load.against_best),
        *(
            Record(f"{name}, {count} fixed threads", statistics.median(rates), "tokens/s")
            for count, rates in zip(counts, fixed, strict=True)
        ),
    ]


def others(cores: int) -> Record:
    """Where strangers use the machine, "idle" is none, and the loads are more than they say."""
    used = psutil.cpu_percent(SETTLE_SECONDS) / 100 * (psutil.cpu_count() or cores)
    return Record("the rest of the machine", used, "cores", bar="< 0.1", holds=used < 0.1)


async def measure(
    model: str, effort: Effort, servers: Sequence[Server], counts: Sequence[int], cores: int
) -> list[Record]:
    """All loads of one model."""
    for server in servers:
        await warm(server)
    found = [idle(model, servers), others(cores)]
    for load in loads(cores):
        found += records(model, load, counts, await under(load, model, servers, effort))
    return found


def main() -> None:
    args = arguments(__doc__).parse_args()
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    counts = thread_counts(cores)
    found: list[Record] = []
    for model in args.models:
        effort = QUICK if args.quick else FULL.get(model, Effort(3, 32))
        effort = replace(effort, rounds=args.rounds or effort.rounds)
        path, sizes = ensure(model), {"slots": SLOTS, "context": CONTEXT}
        with ExitStack() as stack:
            servers = [
                stack.enter_context(node.start(path, **sizes)),
                stack.enter_context(llama_server.start(path, **sizes)),
            ]
            for count in counts:
                fixed = {"AI_ASSISTANT_ENGINE_THREADS": str(count)}
                servers.append(stack.enter_context(node.start(path, **sizes, environment=fixed)))
            found += asyncio.run(measure(model, effort, servers, counts, cores))
    publish("contention-quick" if args.quick else "contention", found, notes=NOTES)


NOTES = (
    "Peer: llama-server of the same source, its defaults.",
    "Peer of lines with `against`: our own node with that many fixed threads.",
    "Busy programs are Python loops at the servers' own niceness.",
)


if __name__ == "__main__":
    main()
