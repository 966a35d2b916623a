"""Interactive requests while batch work fills the machine, beside llama-server.

`python -m benchmarks.qos [--models starter 0.5b 1b] [--rounds N] [--quick]`

Four batch jobs run all the time: a new prompt of about 1,500 tokens, an answer of 128, then the
next. Interactive requests (about 60 tokens, an answer of 32) arrive at random, independent of
answers, as a fixed seed says. The body carries `priority`, which llama-server does not know; both
have 8 places. A round of a server is a window of some seconds; jobs that run at its end run out,
and only what falls into the window counts: a prompt's tokens spread evenly from the question to the
first token, an answer's tokens over its pieces.

Two more windows ask what our node does alone: batch without interactive work, interactive requests
one by one without batch. The bar of batch throughput is 0.85 of what is left for it: from the batch
rate alone we take away the share of the time that the same number of interactive requests needs
when nothing else runs (the sum of their seconds by the window's). That is generous to the node:
requests beside others are cheaper than alone.
"""

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from benchmarks import llama_server, node
from benchmarks.client import Answer, ask
from benchmarks.models import ensure
from benchmarks.prompts import Prompts
from benchmarks.report import Record, publish
from benchmarks.rounds import SLOTS, arguments, compared, idle, in_turns, judge, quantile, warm
from benchmarks.servers import Server

JOBS = 4
CONTEXT = 2048


@dataclass(frozen=True)
class Effort:
    """How much is asked."""

    rounds: int
    window: float
    """Seconds."""
    gap: float
    """Mean seconds between two interactive requests."""
    words: int = 1400
    """Of a batch prompt."""
    answer: int = 128
    """Tokens of a batch answer."""


FULL = {
    "starter": Effort(5, window=60, gap=2),
    "0.5b": Effort(3, window=180, gap=6),
    "1b": Effort(3, window=240, gap=8),
}
QUICK = Effort(1, window=8, gap=1, words=600, answer=32)


@dataclass
class Window:
    """What came of one window."""

    begun: float
    ended: float
    batch: list[Answer] = field(default_factory=list)
    interactive: list[Answer] = field(default_factory=list)

    @property
    def batch_rate(self) -> float:
        """Batch tokens per second, prompts and answers."""
        return sum(tokens_within(job, self.begun, self.ended) for job in self.batch) / self.seconds

    @property
    def seconds(self) -> float:
        return self.ended - self.begun

    def first_token(self, share: float) -> float:
        """Milliseconds, of the interactive ones."""
        return 1000 * quantile([each.first_token_seconds for each in self.interactive], share)

    def per_token(self, share: float) -> float:
        """Milliseconds from one token to the next, of the interactive ones."""
        return 1000 * quantile([token_seconds(each) for each in self.interactive], share)


def token_seconds(answer: Answer) -> float:
    """Mean time between two tokens of an answer."""
    last = answer.events[-1][0] - answer.started
    return (last - answer.first_token_seconds) / (answer.usage["completion_tokens"] - 1)


def tokens_within(answer: Answer, begun: float, ended: float) -> float:
    """How many of the answer's tokens, its prompt's included, were computed in the window."""
    first = answer.started + answer.first_token_seconds
    overlap = min(first, ended) - max(answer.started, begun)
    prompt = max(0.0, overlap) / answer.first_token_seconds * answer.usage["prompt_tokens"]
    pieces = [at for at, _ in answer.events if at >= first]
    inside = sum(begun <= at <= ended for at in pieces)
    return prompt + inside / len(pieces) * answer.usage["completion_tokens"]


async def run_window(
    server: Server, effort: Effort, seed: object, *, batch: bool, interactive: bool
) -> Window:
    """Both kinds of work, or one, for a window's time; all that began is waited for."""
    lead = 0.1 * effort.window if batch else 0.0
    begun = time.perf_counter() + lead
    window = Window(begun, begun + effort.window)
    workers = [_jobs(server, effort, Prompts(seed, n), window) for n in range(JOBS * batch)]
    if interactive:
        workers.append(_arrivals(server, effort, seed, window))
    await asyncio.gather(*workers)
    return window


async def _jobs(server: Server, effort: Effort, prompts: Prompts, window: Window) -> None:
    while time.perf_counter() < window.ended:
        prompt = prompts.words(effort.words)
        window.batch.append(await ask(server, prompt, effort.answer, priority="batch"))


async def _arrivals(server: Server, effort: Effort, seed: object, window: Window) -> None:
    prompts = Prompts(seed, "interactive")
    asked: list[asyncio.Task[Answer]] = []
    for moment in arrivals(effort, seed):
        await asyncio.sleep(window.begun + moment - time.perf_counter())
        question = ask(server, prompts.words(58), 32, priority="interactive")
        asked.append(asyncio.create_task(question))
    window.interactive += await asyncio.gather(*asked)


def arrivals(effort: Effort, seed: object) -> list[float]:
    """Moments within the window, at least two."""
    chance = random.Random(repr(seed))
    moments = [chance.expovariate(1 / effort.gap)]
    while moments[-1] < effort.window or len(moments) < 3:
        moments.append(moments[-1] + chance.expovariate(1 / effort.gap))
    return moments[:-1]


async def one_by_one(server: Server, effort: Effort, seed: object) -> Window:
    """As many interactive requests as in a window, each alone on the machine."""
    prompts = Prompts(seed, "unloaded")
    window = Window(time.perf_counter(), 0)
    for _ in arrivals(effort, seed):
        answer = await ask(server, prompts.words(58), 32, priority="interactive")
        window.interactive.append(answer)
    window.ended = time.perf_counter()
    return window


@dataclass
class Round:
    """Two windows of mixed work, and what our node does with either kind alone."""

    ours: Window
    theirs: Window
    batch: Window
    unloaded: Window


async def measure(
    model: str, effort: Effort, ours: Server, theirs: Server
) -> tuple[Record, list[Round]]:
    """All rounds of one model."""
    for server in (ours, theirs):
        await warm(server)
    calm = idle(model, (ours, theirs))
    rounds: list[Round] = []
    for turn in range(effort.rounds):
        print(f"{model}: round {turn + 1} of {effort.rounds} …", flush=True)
        seed = (model, turn)
        mixed = {
            server: await run_window(server, effort, seed, batch=True, interactive=True)
            for server in in_turns((ours, theirs), turn)
        }
        batch = await run_window(ours, effort, (*seed, "alone"), batch=True, interactive=False)
        unloaded = await one_by_one(ours, effort, seed)
        rounds.append(Round(mixed[ours], mixed[theirs], batch, unloaded))
    return calm, rounds


def records(model: str, rounds: Sequence[Round]) -> list[Record]:
    """The figures and their bars."""
    found: list[Record] = []
    for name, share in (("median", 0.5), ("p99", 0.99)):
        times = [(r.ours.first_token(share), r.theirs.first_token(share)) for r in rounds]
        bar = 1 / 5 if name == "p99" else None
        label = f"{model}: interactive first token, {name}"
        found.append(compared(label, "ms", *zip(*times, strict=True), at_most=bar))
    for name, share in (("median", 0.5), ("p99", 0.99)):
        times = [(r.ours.per_token(share), r.theirs.per_token(share)) for r in rounds]
        label = f"{model}: interactive time per token, {name}"
        found.append(compared(label, "ms", *zip(*times, strict=True)))
    rates = [(r.ours.batch_rate, r.theirs.batch_rate) for r in rounds]
    found.append(compared(f"{model}: batch beside it", "tokens/s", *zip(*rates, strict=True)))
    return [*found, *_against_itself(model, rounds)]


def _against_itself(model: str, rounds: Sequence[Round]) -> list[Record]:
    """Our node beside batch against our node unloaded; batch against what was left for it."""
    slower = [(r.ours.per_token(0.5), r.unloaded.per_token(0.5)) for r in rounds]
    first = [(r.ours.first_token(0.5), r.unloaded.first_token(0.5)) for r in rounds]
    left = [max(0.0, r.batch.batch_rate * (1 - interactive_share(r))) for r in rounds]
    rates = [r.ours.batch_rate for r in rounds]
    share = statistics.median(map(interactive_share, rounds))
    records = [
        compared(
            f"{model}: interactive time per token, beside / unloaded",
            "ms",
            *zip(*slower, strict=True),
            at_most=2,
        ),
        compared(
            f"{model}: interactive first token, beside / unloaded",
            "ms",
            *zip(*first, strict=True),
        ),
        Record(f"{model}: interactive share of the time", 100 * share, "%"),
        Record(
            f"{model}: batch alone",
            statistics.median(r.batch.batch_rate for r in rounds),
            "tokens/s",
        ),
    ]
    name = f"{model}: batch beside it / left for it"
    if min(left) > 0:
        return [*records, compared(name, "tokens/s", rates, left, at_least=0.85)]
    bar, _ = judge(0, at_least=0.85)
    return [
        *records,
        Record(f"{name}: nothing left", statistics.median(rates), "tokens/s", bar=bar),
    ]


def interactive_share(round_: Round) -> float:
    """Of a window's time, by the same number of requests on an unloaded node."""
    return sum(each.seconds for each in round_.unloaded.interactive) / round_.ours.seconds


def main() -> None:
    args = arguments(__doc__).parse_args()
    found: list[Record] = []
    for model in args.models:
        effort = QUICK if args.quick else FULL.get(model, Effort(3, window=120, gap=5))
        effort = replace(effort, rounds=args.rounds or effort.rounds)
        path, sizes = ensure(model), {"slots": SLOTS, "context": CONTEXT}
        with node.start(path, **sizes) as ours, llama_server.start(path, **sizes) as theirs:
            calm, rounds = asyncio.run(measure(model, effort, ours, theirs))
        found += [calm, *records(model, rounds)]
    publish("qos-quick" if args.quick else "qos", found, notes=NOTES)


NOTES = (
    "Peer: llama-server of the same source, --parallel 8, its defaults, the same requests.",
    "Peer of lines with a slash: our own node, as the line says.",
)


if __name__ == "__main__":
    main()
