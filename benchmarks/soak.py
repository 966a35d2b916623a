"""Many short requests, many at a time: none lost, none wrong, and memory that does not grow.

`python -m benchmarks.soak [--requests 1000] [--together 32]`; with `--requests 10000` the memory's
slope means something. Right is what the same server answers when it is asked alone; an answer that
leaves that path at a tie between two tokens is counted apart, any other difference is wrong.

`--faults` does it with conversations while things break: see `benchmarks/faults.py`.
"""

import argparse
import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from benchmarks import llama_server, node
from benchmarks.client import Answer, Refused, chat
from benchmarks.models import ensure
from benchmarks.prompts import Prompts
from benchmarks.report import Record, publish
from benchmarks.rounds import SLOTS, warm
from benchmarks.servers import Server
from benchmarks.ties import Step, is_tie, steps

GROWTH = 1.0
"""MB per 1,000 requests that count as flat."""


@dataclass
class Soak:
    """What happened."""

    outcomes: Counter[str] = field(default_factory=Counter)
    memory: list[tuple[int, list[float]]] = field(default_factory=list)
    """Requests done, then MB: the root process and the sum of the others."""
    problems: list[str] = field(default_factory=list)

    @property
    def done(self) -> int:
        return self.outcomes.total()

    def note(self, outcome: str, detail: str = "") -> None:
        """Count one request."""
        self.outcomes[outcome] += 1
        if detail and len(self.problems) < 10:
            self.problems.append(f"{outcome}: {detail}")


async def soak(server: Server, *, requests: int, together: int, tokens: int) -> Soak:
    """Ask `requests` times, `together` at a time, and compare with lonely answers."""
    await warm(server)
    prompts = [f"Repeat: {Prompts('soak', n).words(10)}" for n in range(min(200, requests))]
    expected = {prompt: await _alone(server, prompt, tokens) for prompt in prompts}
    order = random.Random(7).choices(prompts, k=requests)
    result, queue = Soak(), iter(order)
    sampler = asyncio.create_task(_sample(server, result))
    await asyncio.gather(
        *(_client(server, queue, tokens, expected, result) for _ in range(together))
    )
    sampler.cancel()
    result.memory.append((result.done, server.megabytes()))
    return result


@dataclass(frozen=True)
class Expected:
    """An answer to one who asks alone."""

    text: str
    steps: list[Step]


async def _alone(server: Server, prompt: str, tokens: int) -> Expected:
    answer = await chat(server, prompt, tokens, logprobs=True, top_logprobs=10)
    return Expected(answer.text, steps(answer))


async def _client(
    server: Server, queue: Iterator[str], tokens: int, expected: dict[str, Expected], result: Soak
) -> None:
    for prompt in queue:
        try:
            answer = await chat(server, prompt, tokens)
        except (Refused, OSError, TimeoutError) as error:
            result.note("lost", f"{prompt!r}: {error!r}")
            continue
        result.note(*judge(prompt, answer, tokens, expected))


def judge(
    prompt: str, answer: Answer, tokens: int, expected: dict[str, Expected]
) -> tuple[str, str]:
    """The outcome of one answer, and what was odd about it."""
    made = answer.usage["completion_tokens"]
    if made != tokens or answer.finish != "length":
        return "wrong", f"{made} tokens, finish {answer.finish!r}"
    right = expected[prompt]
    if answer.text == right.text:
        return "right", ""
    if is_tie(right.steps, answer.text):
        return "tie", ""
    return "wrong", f"{prompt!r}: {answer.text!r} is not {right.text!r}"


async def _sample(server: Server, result: Soak) -> None:
    while True:
        result.memory.append((result.done, await asyncio.to_thread(server.megabytes)))
        await asyncio.sleep(0.5)


def growth(samples: list[tuple[int, list[float]]], column: int) -> float:
    """MB per 1,000 requests over the last two thirds: caches fill before."""
    begin = samples[-1][0] / 3
    rows = [(done, held[column]) for done, held in samples if done >= begin]
    if len({done for done, _ in rows}) < 2:
        return 0.0
    done, held = np.array(rows).T
    return float(np.polyfit(done, held, 1)[0] * 1000)


def records(result: Soak, requests: int) -> list[Record]:
    """The figures and their bars."""
    count = result.outcomes
    lines = [
        Record("requests", requests, ""),
        Record("lost", count["lost"], "", bar="0", holds=count["lost"] == 0),
        Record("wrong", count["wrong"], "", bar="0", holds=count["wrong"] == 0),
        Record("batched ≠ alone, at a tie", 100 * count["tie"] / requests, "%"),
    ]
    flat = f"≤ {GROWTH:g} from 5,000 requests on"
    for column, name in enumerate(("node", "engine")):
        slope = growth(result.memory, column)
        lines += [
            Record(f"{name}: memory at the end", result.memory[-1][1][column], "MB"),
            Record(
                f"{name}: growth",
                slope,
                "MB per 1,000",
                bar=flat,
                holds=slope <= GROWTH if requests >= 5000 else None,
            ),
        ]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--together", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--peer", action="store_true", help="soak llama.cpp's server instead")
    parser.add_argument("--faults", action="store_true", help="break things meanwhile")
    parser.add_argument("--every", type=float, default=15, help="seconds between two faults")
    args = parser.parse_args()
    if args.faults:
        main_with_faults(args)
        return
    start = llama_server.start if args.peer else node.start
    with start(ensure(args.model), slots=SLOTS, context=2048) as server:
        result = asyncio.run(
            soak(server, requests=args.requests, together=args.together, tokens=args.tokens)
        )
    name = f"soak{'-peer' if args.peer else ''}{'-long' if args.requests >= 5000 else ''}"
    setting = f"{args.model}, {SLOTS} slots, {args.together} at a time, {args.tokens} tokens each"
    publish(name, records(result, args.requests), notes=[setting, *result.problems])


def main_with_faults(args: argparse.Namespace) -> None:
    """The same with faults."""
    from benchmarks import faults  # it builds on this module

    start = partial(node.start, ensure(args.model), slots=SLOTS, context=2048)
    asking = faults.soak_with_faults(
        start, requests=args.requests, together=args.together, tokens=args.tokens, every=args.every
    )
    result, house = asyncio.run(asking)
    setting = f"{args.model}, {args.together} clients, a fault every {args.every:g} s"
    name = "soak-faults-long" if args.requests >= 5000 else "soak-faults"
    publish(name, faults.records(result, house), notes=[setting, *result.problems])


if __name__ == "__main__":
    main()
