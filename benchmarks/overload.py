"""Four times the requests that a node can answer: each gets its answer or an orderly no.

`python -m benchmarks.overload [--models starter] [--minutes 10] [--factor 4] [--quick] [--peer]`

First as many clients as the node has places ask one after the other: what they get answered in a
second is the sustainable rate. Then requests arrive at random at `factor` times that rate, whether
or not earlier ones have been answered, for so many minutes; all are waited for. An orderly no is a
429 or 503 with a Retry-After header, before any piece of an answer. An answer with another number
of tokens, another status or an error within a stream is "anything else"; a connection that ends or
stays silent is "lost". At the end the sustainable rate is measured again.

Memory is sampled twice a second. Ended conversations that are kept in RAM would grow for minutes by
design, so their share is kept small by a setting (`cache.memory_gb`), and flat is judged from the
middle to the end: by then the queue is full.
"""

import argparse
import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from benchmarks import llama_server, node
from benchmarks.client import Refused, chat
from benchmarks.models import ensure
from benchmarks.prompts import Prompts
from benchmarks.report import Record, publish
from benchmarks.rounds import SLOTS, quantile, warm
from benchmarks.servers import Server

CONTEXT = 2048
SETTINGS = {"AI_ASSISTANT_CACHE_MEMORY_GB": "0.1"}
GROWTH = 0.05
"""Of the memory in the middle of the run, until its end, that counts as flat."""


@dataclass(frozen=True)
class Effort:
    """One request, and how long the sustainable rate is measured."""

    words: int
    tokens: int
    probe: float
    """Seconds."""


FULL = {"starter": Effort(200, 32, 30), "0.5b": Effort(60, 16, 60), "1b": Effort(60, 8, 60)}


@dataclass
class Outcome:
    """What happened."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    """Of answers."""
    refusals: list[float] = field(default_factory=list)
    """Seconds until an orderly no."""
    memory: list[list[float]] = field(default_factory=list)
    """MB, node and engine."""
    problems: list[str] = field(default_factory=list)

    def note(self, outcome: str, detail: str = "") -> None:
        """Count one request."""
        self.counts[outcome] += 1
        if detail and len(self.problems) < 10:
            self.problems.append(f"{outcome}: {detail}")


async def sustainable(server: Server, effort: Effort, seed: object) -> float:
    """Requests per second, of clients that wait for their answers."""
    begun = time.perf_counter()
    ended: list[float] = []

    async def client(n: int) -> None:
        prompts = Prompts(seed, n)
        while time.perf_counter() < begun + effort.probe:
            await chat(server, prompts.words(effort.words), effort.tokens)
            ended.append(time.perf_counter())

    await asyncio.gather(*(client(n) for n in range(SLOTS)))
    return len(ended) / (max(ended) - begun)


async def overload(server: Server, effort: Effort, rate: float, seconds: float) -> Outcome:
    """Requests at `rate` a second, for so many seconds; then wait for all."""
    result, prompts, chance = Outcome(), Prompts("overload"), random.Random(7)
    sampler = asyncio.create_task(_sample(server, result))
    asked: set[asyncio.Task[None]] = set()
    begun = moment = time.perf_counter()
    while (moment := moment + chance.expovariate(rate)) < begun + seconds:
        await asyncio.sleep(moment - time.perf_counter())
        task = asyncio.create_task(_ask(server, prompts.words(effort.words), effort, result))
        asked.add(task)
        task.add_done_callback(asked.discard)
    sampler.cancel()
    await asyncio.gather(*asked)
    return result


async def _ask(server: Server, prompt: str, effort: Effort, result: Outcome) -> None:
    begun = time.perf_counter()
    try:
        answer = await chat(server, prompt, effort.tokens)
        made = answer.usage["completion_tokens"]
    except Refused as refusal:
        if orderly(refusal):
            result.refusals.append(time.perf_counter() - begun)
            result.note(str(refusal.status))
        else:
            result.note("else", repr(refusal))
    except (OSError, TimeoutError, ValueError) as error:
        result.note("lost", repr(error))
    else:
        right = made == effort.tokens
        result.seconds.append(answer.seconds)
        result.note("answered" if right else "else", "" if right else f"{made} tokens")


def orderly(refusal: Refused) -> bool:
    """Whether a client can tell from it when to come again."""
    return refusal.status in (429, 503) and refusal.headers.get("retry-after", "").isdigit()


async def _sample(server: Server, result: Outcome) -> None:
    while True:
        result.memory.append(await asyncio.to_thread(server.megabytes))
        await asyncio.sleep(0.5)


async def measure(
    model: str, server: Server, effort: Effort, factor: float, seconds: float
) -> tuple[list[Record], list[str]]:
    """The sustainable rate, too much, and the sustainable rate again."""
    await warm(server)
    before = await sustainable(server, effort, "before")
    rested = await asyncio.to_thread(server.megabytes)
    print(
        f"{model}: {before:.3g} requests/s; {factor:g} times that for {seconds:.0f} s", flush=True
    )
    result = await overload(server, effort, factor * before, seconds)
    after = await sustainable(server, effort, "after")
    head = [
        Record(f"{model}: sustainable rate", before, "requests/s"),
        Record(
            f"{model}: sustainable rate afterwards", after, "requests/s", before, after / before
        ),
    ]
    return [*head, *_counts(model, result), *_memory(model, rested, result)], result.problems


def _counts(model: str, result: Outcome) -> list[Record]:
    counts = result.counts
    must_not = [
        Record(f"{model}: {name}", counts[key], "", bar="0", holds=counts[key] == 0)
        for key, name in (("else", "anything else"), ("lost", "lost"))
    ]
    found = [
        Record(f"{model}: asked", counts.total(), ""),
        Record(f"{model}: answered", counts["answered"], ""),
        *(Record(f"{model}: {status} with Retry-After", counts[status], "") for status in REFUSALS),
        *must_not,
    ]
    if result.seconds:
        seconds = statistics.median(result.seconds)
        found.append(Record(f"{model}: an answer took, median", seconds, "s"))
    if result.refusals:
        worst = 1000 * quantile(result.refusals, 0.99)
        found.append(Record(f"{model}: a no took, p99", worst, "ms"))
    return found


REFUSALS = ("429", "503")


def _memory(model: str, rested: Sequence[float], result: Outcome) -> list[Record]:
    records: list[Record] = []
    tenth = max(1, len(result.memory) // 10)
    half = len(result.memory) // 2
    for column, name in enumerate(("node", "engine")):
        held = [sample[column] for sample in result.memory]
        middle = statistics.median(held[half : half + tenth])
        end = statistics.median(held[-tenth:])
        grown = end / middle - 1
        records += [
            Record(f"{model}: {name}, memory before", rested[column], "MB"),
            Record(f"{model}: {name}, memory in the middle", middle, "MB"),
            Record(f"{model}: {name}, memory at the end", end, "MB"),
            Record(
                f"{model}: {name}, growth from middle to end",
                100 * grown,
                "%",
                bar=f"≤ {100 * GROWTH:g}",
                holds=grown <= GROWTH,
            ),
        ]
    return records


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["starter"])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--factor", type=float, default=4)
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--peer", action="store_true", help="ask llama.cpp's server instead")
    args = parser.parse_args()
    seconds = 15 if args.quick else 60 * args.minutes
    records: list[Record] = []
    problems: list[str] = []
    for model in args.models:
        effort = FULL.get(model, Effort(60, 16, 30))
        effort = replace(effort, probe=5) if args.quick else effort
        sizes = {"slots": SLOTS, "context": CONTEXT}
        start = (
            llama_server.start(ensure(model), **sizes)
            if args.peer
            else node.start(ensure(model), **sizes, environment=SETTINGS)
        )
        with start as server:
            found, odd = asyncio.run(measure(model, server, effort, args.factor, seconds))
        records += found
        problems += odd
    name = f"overload{'-peer' if args.peer else ''}{'-quick' if args.quick else ''}"
    publish(name, records, notes=[f"{SLOTS} places, context of {CONTEXT:,} tokens.", *problems])


if __name__ == "__main__":
    main()
