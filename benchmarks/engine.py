"""Our node against llama.cpp's server: same kernels, same file, same machine, same moment.

`python -m benchmarks.engine [--models starter 0.5b 1b] [--quick]`

Both servers of a pair stay loaded and are asked in turns, A B, then B A, and so on: a change of the
machine's speed hits both, and no round pays for loading. The one that waits must not burn processor
time, which is checked. Memory alone is measured with one server at a time, since both map the same
file and would share its pages. Each figure is a median over rounds, each ratio a median of ratios
within one round.
"""

import argparse
import asyncio
import statistics
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import llama_server, node
from benchmarks.client import ask, ask_together
from benchmarks.models import ensure
from benchmarks.prompts import Prompts
from benchmarks.report import Record, publish
from benchmarks.rounds import SLOTS, alternate, compared, idle, rate, warm
from benchmarks.servers import Server

Starter = Callable[..., AbstractContextManager[Server]]


@dataclass(frozen=True)
class Effort:
    """How much is asked."""

    rounds: int
    decode: int = 128
    prefill: int = 1400
    """Words of a prompt."""
    system: int = 950
    """Words of a shared system prompt: about 1,000 tokens."""
    answer: int = 16
    """Tokens after a shared prompt."""


FULL = {"starter": Effort(9), "0.5b": Effort(5), "1b": Effort(3, decode=64)}
QUICK = Effort(2, decode=32, prefill=400, system=300, answer=8)


async def decode_alone(server: Server, prompts: Prompts, effort: Effort) -> float:
    """Tokens per second of one stream, from question to last token."""
    return rate([await ask(server, prompts.question(), effort.decode)])


async def decode_together(server: Server, prompts: Prompts, effort: Effort) -> float:
    """Tokens per second of eight streams in all."""
    questions = [prompts.question() for _ in range(SLOTS)]
    return rate(await ask_together(server, questions, effort.decode))


async def prefill(server: Server, prompts: Prompts, effort: Effort) -> float:
    """Prompt tokens per second, with one token of answer."""
    answer = await ask(server, prompts.words(effort.prefill), 1)
    return answer.usage["prompt_tokens"] / answer.first_token_seconds


async def first_token_alone(server: Server, prompts: Prompts, effort: Effort) -> float:
    """Milliseconds to the first token after a long new system prompt."""
    prompt = prompts.conversation(prompts.words(effort.system))
    return 1000 * (await ask(server, prompt, effort.answer)).first_token_seconds


async def first_token_together(server: Server, prompts: Prompts, effort: Effort) -> float:
    """The same for eight that arrive together with the same system prompt; their median."""
    system = prompts.words(effort.system)
    questions = [prompts.conversation(system) for _ in range(SLOTS)]
    answers = await ask_together(server, questions, effort.answer)
    return 1000 * statistics.median(answer.first_token_seconds for answer in answers)


async def first_token_known(server: Server, prompts: Prompts, effort: Effort) -> float:
    """The same for one whose system prompt was answered before."""
    system = prompts.words(effort.system)
    await ask(server, prompts.conversation(system), effort.answer)
    answer = await ask(server, prompts.conversation(system), effort.answer)
    return 1000 * answer.first_token_seconds


@dataclass(frozen=True)
class Scenario:
    """What is measured and what our ratio to the peer must be."""

    name: str
    unit: str
    measure: Callable[[Server, Prompts, Effort], Awaitable[float]]
    at_least: float | None = None
    at_most: float | None = None

    def record(self, model: str, ours: list[float], peer: list[float]) -> Record:
        """Medians, and the verdict."""
        name = f"{model}: {self.name}"
        return compared(name, self.unit, ours, peer, at_least=self.at_least, at_most=self.at_most)


SCENARIOS = (
    Scenario("decode, 1 stream", "tokens/s", decode_alone, at_least=0.97),
    Scenario("decode, 8 streams", "tokens/s", decode_together, at_least=1.0),
    Scenario("prefill", "tokens/s", prefill, at_least=0.97),
    Scenario("first token, new system prompt, 1 stream", "ms", first_token_alone),
    Scenario(
        "first token, new shared system prompt, 8 streams", "ms", first_token_together, at_most=0.5
    ),
    Scenario("first token, known system prompt, 1 stream", "ms", first_token_known),
)


def compare(model: str, effort: Effort, ours: Starter, theirs: Starter) -> list[Record]:
    """All figures of one model."""
    path, context = ensure(model), 2048 if model == "starter" else 4096
    sizes = {"slots": SLOTS, "context": context}
    with ours(path, **sizes) as our_server, theirs(path, **sizes) as their_server:
        pair = (our_server, their_server)
        records = asyncio.run(_speeds(model, effort, pair))
    records += _memory(model, path, sizes, (ours, theirs))
    return records


async def _speeds(model: str, effort: Effort, pair: tuple[Server, Server]) -> list[Record]:
    for server in pair:
        await warm(server)
    records = [idle(model, pair)]
    for scenario in SCENARIOS:
        print(f"{model}: {scenario.name} …", flush=True)

        async def measure(server: Server, turn: int, scenario: Scenario = scenario) -> float:
            return await scenario.measure(server, Prompts(model, scenario.name, turn), effort)

        records.append(scenario.record(model, *await alternate(pair, effort.rounds, measure)))
    return records


def _memory(
    model: str, path: Path, sizes: dict[str, int], starters: tuple[Starter, Starter]
) -> list[Record]:
    found = [asyncio.run(_loaded_memory(start, path, sizes)) for start in starters]
    (held, peak), (their_held, their_peak) = found
    return [
        Record(f"{model}: memory held", held, "MB", their_held, held / their_held),
        Record(f"{model}: memory, sum of peaks", peak, "MB", their_peak, peak / their_peak),
    ]


async def _loaded_memory(start: Starter, path: Path, sizes: dict[str, int]) -> tuple[float, float]:
    with start(path, **sizes) as server:
        await warm(server)
        await ask_together(server, [Prompts("memory", n).words(300) for n in range(SLOTS)], 32)
        return sum(server.memory()) / 1e6, server.peak() / 1e6


async def python_cost(start: Starter, tokens: int) -> Record:
    """Our engine's time outside the kernels, per step of eight sequences over 32,000 tokens."""
    with start(ensure("tiny-32k"), slots=SLOTS, context=2048) as server:
        await warm(server)
        await ask_together(server, [Prompts("cost", n).question() for n in range(SLOTS)], tokens)
        cost = (await asyncio.to_thread(node.engine_status, server))["python_ms_mean"]
    name = "Python per decode step, 8 sequences, 32k vocabulary"
    return Record(name, cost, "ms", bar="≤ 0.3", holds=cost <= 0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["starter", "0.5b", "1b"])
    parser.add_argument("--quick", action="store_true", help="minutes less, worth less")
    parser.add_argument(
        "--self-test", action="store_true", help="llama.cpp's server on both sides: ratios of 1"
    )
    args = parser.parse_args()
    ours = llama_server.start if args.self_test else node.start
    records: list[Record] = []
    for model in args.models:
        effort = QUICK if args.quick else FULL.get(model, Effort(3))
        records += compare(model, effort, ours, llama_server.start)
    if not args.self_test:
        records.append(asyncio.run(python_cost(ours, 64 if args.quick else 512)))
    name = "engine-self-test" if args.self_test else "engine-quick" if args.quick else "engine"
    publish(name, records, notes=NOTES)


NOTES = (
    "Peer: llama-server of the same source and flags, --parallel 8, its defaults otherwise.",
    "Greedy, no penalties, end token ignored. Tokens are counted by the servers' usage.",
    "Memory held: proportional set size of all processes after 8 long prompts, alone.",
)


if __name__ == "__main__":
    main()
