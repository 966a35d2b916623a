"""How long the decision takes: 20 candidates, facts of every kind, requests of several lengths.

    python -m benchmarks.routing [--decisions 20000]

`decision` is the pure function over facts that are there. `from request to turn` is all that a
node does between a parsed request and the first worker, but for reading the text for the owner's
rules, which has a benchmark of its own: length and digests of the prompt, who holds its beginning,
the facts of every worker, the decision, the list of turns. `explained` adds the words. The workers
are real ones with records that were filled; none is asked, so nothing waits for a network.
"""

import argparse
import gc
import random
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from ai_assistant.policy.egress.log import EgressLog
from ai_assistant.policy.gate import Gate
from ai_assistant.policy.rules_file import RulesFile
from ai_assistant.protocol.offers import Price
from ai_assistant.protocol.requests import ChatMessage, ChatPrompt, GenerateRequest
from ai_assistant.protocol.routing import NO_WISHES, Wishes
from ai_assistant.scheduler.candidates import Candidate, Candidates
from ai_assistant.scheduler.routing.decide import decide
from ai_assistant.scheduler.routing.need import ask_of, read
from ai_assistant.scheduler.routing.routes import Route, RoutingSettings
from ai_assistant.scheduler.scheduler import Scheduler
from ai_assistant.scheduler.settings import SchedulerSettings
from ai_assistant.scheduler.weigher import Weigher, Weighing
from ai_assistant.workers.providers.fleet import Fleet
from ai_assistant.workers.providers.provider import Provider, ProviderModel
from ai_assistant.workers.providers.records_file import RecordsFile
from benchmarks.report import Record, publish

Given = TypeVar("Given")

SEED = 20_261_122
CANDIDATES = 20
BAR_US = 1000.0
LENGTHS = {"short (60 characters)": (1, 60), "a talk (8,000 in 20 turns)": (20, 400),
           "long (100,000 in 40 turns)": (40, 2500)}  # fmt: skip


def fleet_of(count: int, folder: Path, rng: random.Random) -> Fleet:
    """Providers of one model each, with the record of fifty answers."""
    providers = {
        f"p{number}": Provider(
            base_url="https://example.invalid/v1",
            region=rng.choice(("eu", "us", "")),
            models=(
                ProviderModel(
                    id=f"m{number}",
                    names=("any",),
                    context=rng.choice((None, 128_000, 400_000)),
                    price=Price(input=rng.uniform(0.1, 5), output=rng.uniform(0.5, 25)),
                ),
            ),
        )
        for number in range(count)
    }
    gate = Gate(RulesFile(folder / "policy.toml"), EgressLog(folder / "egress"))
    records = RecordsFile(folder / "seen.json")
    for name, provider in providers.items():
        record = records.record(f"{name}/{provider.models[0].id}")
        for at in range(50):
            record.begin(at)
            record.first_token(rng.uniform(0.2, 3), at)
            record.succeed(rng.uniform(0.005, 0.05), at)
    return Fleet(providers, environ={}, folder=folder, gate=gate, records=records)


def request_of(turns: int, size: int, rng: random.Random) -> GenerateRequest:
    """A conversation that was never seen before."""
    words = [
        rng.choice(("boat", "rain", "harbour", "night", "of", "the")) for _ in range(size // 5)
    ]
    messages = tuple(
        ChatMessage(role=("user", "assistant")[at % 2], content=f"{rng.random()} {' '.join(words)}")
        for at in range(turns)
    )
    return GenerateRequest(request_id="r", model="any", prompt=ChatPrompt(messages=messages))


def timed(
    count: int, make: Callable[[], Given], once: Callable[[Given], object]
) -> tuple[float, float]:
    """Median and 99th percentile, microseconds; what `make` gives is new each time."""
    for _ in range(50):
        once(make())
    gc.collect()
    taken: list[float] = []
    for _ in range(count):
        given = make()
        began = time.perf_counter()
        once(given)
        taken.append((time.perf_counter() - began) * 1e6)
    taken.sort()
    return taken[count // 2], taken[int(count * 0.99)]


class Bench:
    """A node's router parts over real workers that nobody asks."""

    def __init__(self, folder: Path) -> None:
        self.rng = random.Random(SEED)
        fleet = fleet_of(CANDIDATES, folder, self.rng)
        scheduler = Scheduler((), _none, SchedulerSettings(), version="0", load_wait_seconds=1)
        settings = RoutingSettings(
            routes={"any": Route(models=tuple(f"p{n}/m{n}" for n in range(CANDIDATES)))}
        )
        self.candidates = Candidates(scheduler, fleet.workers, settings)
        self.found: list[Candidate] = self.candidates.of("any")
        assert len(self.found) == CANDIDATES
        self.weigher = Weigher(self.candidates, online=lambda: True, kept={})

    def decisions(self, count: int) -> list[Record]:
        """The pure function, by objective, with limits."""
        records: list[Record] = []
        request = request_of(20, 400, self.rng)
        ask = ask_of(request, read(request), usual_answer=256)
        facts = self.candidates.facts(self.found, held={}, online=True)
        limits = Wishes(max_price=0.05, max_ttft=2.5, max_price_per_million=20, regions=("eu",))
        for objective in ("order", "latency", "cost", "quality", "balanced"):
            for name, wishes in (("", NO_WISHES), (", four limits", limits)):
                p50, p99 = timed(
                    count,
                    lambda: None,
                    lambda _: decide(facts, ask, wishes, objective=objective),  # noqa: B023
                )
                records += _figures(f"decision, {objective}{name}", p50, p99)
        return records

    def whole(self, count: int) -> list[Record]:
        """From a parsed request to the turns, every request a new one."""
        records: list[Record] = []
        wishes = Wishes(objective="balanced")
        made = [partial(request_of, turns, size, self.rng) for turns, size in LENGTHS.values()]
        for name, make in zip(LENGTHS, made, strict=True):
            p50, p99 = timed(count, make, lambda request: self._weigh(request, wishes).turns())
            records += _figures(f"from request to turn, {name}", p50, p99)
        p50, p99 = timed(count, make, lambda request: self._weigh(request, wishes).explained())
        return [*records, *_figures("the same, explained", p50, p99, bar=False)]

    def _weigh(self, request: GenerateRequest, wishes: Wishes) -> Weighing:
        return self.weigher.weigh(request, self.candidates.of("any"), wishes)


def _none(model: object) -> object:
    raise AssertionError(model)


def _figures(name: str, p50: float, p99: float, *, bar: bool = True) -> list[Record]:
    return [
        Record(f"{name}: p50", p50, "µs"),
        Record(f"{name}: p99", p99, "µs", bar="≤ 1,000", holds=p99 <= BAR_US)
        if bar
        else Record(f"{name}: p99", p99, "µs"),
    ]


def main() -> None:
    """All of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--decisions", type=int, default=20_000, help="of each sort")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        records = [*bench.decisions(given.decisions // 4), *bench.whole(given.decisions // 4)]
    publish("routing", records, notes=[f"{CANDIDATES} candidates, seed {SEED}."])


if __name__ == "__main__":
    main()
