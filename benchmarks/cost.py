"""What a trace of mixed requests costs with a local engine beside the clouds, and without one.

    python -m benchmarks.cost [--requests 3000] [--model .bench/models/1b.gguf]

The decision is the router's own code; the speeds of the local engine are measured now, on this
machine, with a real node; prices are those of real providers. Time is simulated: nothing is sent
to a cloud. Two ways without a local engine are compared: one model for everything, as a client
with one model name has it, and the same decision with clouds only. The targets are the same.
"""

import argparse
import itertools
import json
import random
import statistics
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from ai_assistant.protocol.offers import Price
from ai_assistant.protocol.routing import Wishes
from ai_assistant.scheduler.routing.decide import decide
from ai_assistant.scheduler.routing.facts import Ask, CandidateFacts, Pace
from ai_assistant.scheduler.routing.learned import Learned
from benchmarks import node
from benchmarks.cost_trace import (
    ASSUMPTIONS,
    CLOUDS,
    SORTS,
    SPREAD,
    TOKENS_PER_SECOND,
    Cloud,
    Request,
    trace,
)
from benchmarks.report import RESULTS, ROOT, Record, publish

SEED = 20_261_122
SLOTS = 4
BAR = 40.0
WATTS, KWH = 65.0, 0.30
CHAT = frozenset({"chat"})
CACHED_SECONDS = 300.0
NOISE = 0.15
"""Sigma of the local engine's log-normal times."""
SMALL, MIDDLE = 28.0, 45.0
"""Points of the local models: enough for the easy sorts, and also for the middle ones."""


@dataclass
class Local:
    """An engine as the simulation knows it: its speeds, and until when each request runs."""

    name: str
    quality: float
    learned: Learned
    slots: int
    watts: float = WATTS
    until: list[float] = field(default_factory=list[float])

    def facts(self, now: float, cached: int) -> CandidateFacts:
        """As the scheduler would tell them."""
        self.until = sorted(end for end in self.until if end > now)
        crowd = len(self.until)
        pace = self.learned.pace(crowd)
        queue = self.until[crowd - self.slots] - now if crowd >= self.slots else 0.0
        slow = (pace.tpot or 0.0) > 1 / TOKENS_PER_SECOND
        return CandidateFacts(
            name=self.name, place="process", abilities=CHAT, price=Price(input=0, output=0),
            energy=self.watts / 1000 * KWH / 3600 / (crowd + 1), quality=self.quality,
            queue=queue, pace=pace,
            guess=Pace(), cached_tokens=cached, rest="slower than the target" if slow else "",
        )  # fmt: skip


def facts_of(cloud: Cloud, cached: int) -> CandidateFacts:
    """A cloud with figures as if it had been measured for long."""
    late = cloud.ttft * statistics.NormalDist().inv_cdf(0.9) * SPREAD
    return CandidateFacts(
        name=cloud.model, place="cloud", abilities=CHAT, price=cloud.price,
        quality=cloud.quality, guess=Pace(), cached_tokens=cached,
        pace=Pace(first=cloud.ttft, per_prompt_token=5e-5, tpot=cloud.tpot, spread=late),
    )  # fmt: skip


@dataclass
class Outcome:
    """What a whole trace came to."""

    dollars: float = 0.0
    local: int = 0
    met: int = 0
    ttfts: list[float] = field(default_factory=list[float])
    by_sort: Counter[str] = field(default_factory=Counter[str])
    """Dollars."""

    def most_saved(self, points: float) -> float:
        """Percent of its cost that a model of so many points could save, if it cost nothing."""
        able = sum(self.by_sort[sort.name] for sort in SORTS if sort.quality <= points)
        return 100 * able / self.dollars


def simulate(requests: list[Request], clouds: tuple[Cloud, ...], local: Local | None) -> Outcome:
    """Every request to whoever is the cheapest of those that are good and quick enough."""
    rng, outcome = random.Random(SEED), Outcome()
    held: dict[tuple[int, str], float] = {}
    for one in requests:

        def cached(name: str, one: Request = one) -> int:
            seen = held.get((one.talk, name))
            fresh = seen is not None and one.at - seen < CACHED_SECONDS
            return one.known if fresh else 0

        able = [facts_of(c, cached(c.model)) for c in clouds if c.quality >= one.sort.quality]
        if local and local.quality >= one.sort.quality:
            known = cached(local.name)
            able.insert(0, local.facts(one.at, known + one.said if known else 0))
        ask = Ask(prompt_tokens=one.prompt, answer_tokens=one.answer, abilities=CHAT)
        choice = decide(able, ask, Wishes(objective="cost", max_ttft=one.sort.ttft))
        # Where nobody keeps to the target it goes to the quickest: every request is answered.
        choice = choice if choice.ranked else decide(able, ask, Wishes(objective="latency"))
        chosen, expected = able[choice.ranked[0].place], choice.ranked[0].expected
        here = local is not None and chosen.name == local.name
        noise = rng.lognormvariate(0, NOISE if here else SPREAD)
        ttft, tpot = expected.ttft * noise, expected.tpot * noise
        held[one.talk, chosen.name] = one.at
        outcome.dollars += expected.cost or 0.0
        outcome.by_sort[one.sort.name] += expected.cost or 0.0
        outcome.ttfts.append(ttft)
        outcome.met += ttft <= one.sort.ttft and tpot <= 1 / TOKENS_PER_SECOND
        if here and local:
            outcome.local += 1
            local.until.append(one.at + ttft + tpot * one.answer)
    return outcome


# The local engine, measured.


def measured(model: Path) -> Learned:
    """The speeds of a model on this machine, as a real node tells them of real answers."""
    learned = Learned(reading=True)
    with running(model) as client:
        for size, crowd in ((60, 1), (400, 1), (250, 1), (100, 2), (100, 4)):
            told: list[dict[str, Any]] = []
            threads = [
                threading.Thread(target=lambda: told.append(answer(client, size)))  # noqa: B023
                for _ in range(crowd)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for timings in told:
                seconds = timings["prompt_ms"] / 1000
                learned.note_first(timings["prompt_n"], seconds, crowd - 1)
                learned.note_pace(timings["predicted_per_token_ms"] / 1000, crowd - 1)
    return learned


@contextmanager
def running(model: Path) -> Iterator[httpx.Client]:
    """A node with that model, warmed up."""
    with (
        node.start(model, slots=SLOTS, context=8192) as server,
        httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=300) as client,
    ):
        answer(client, 30)
        yield client


_words = itertools.count()


def answer(client: httpx.Client, size: int) -> dict[str, Any]:
    """The timings of one answer of 48 tokens to a prompt of about so many, never seen before."""
    text = f"{next(_words)} " + "the boat went out in the rain and " * (size // 8)
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 48, "ignore_eos": True,
            "timings": True}  # fmt: skip
    reply = client.post("/v1/chat/completions", json=body)
    reply.raise_for_status()
    return reply.json()["timings"]


def on_gpu() -> Learned:
    """A 7B model on a GPU, from what `just bench gpu` measured there."""
    found = json.loads((RESULTS / "gpu-7b.json").read_text())["records"]
    rates = {one["name"]: one["value"] for one in found}
    learned = Learned(reading=True)
    for tokens in (100, 1000, 4000):
        learned.note_first(tokens, 0.02 + tokens / rates["7b: prefill"])
    learned.note_pace(1 / rates["7b: decode, 1 stream"], 0)
    learned.note_pace(32 / rates["7b: decode, 32 streams"], 31)
    return learned


def compared(name: str, requests: list[Request], local: Local) -> list[Record]:
    """The figures of one machine against the clouds alone."""
    one_for_all = (min((c for c in CLOUDS if c.quality >= 75), key=lambda c: c.price.output),)
    single, routed = simulate(requests, one_for_all, None), simulate(requests, CLOUDS, None)
    ours = simulate(requests, CLOUDS, local)
    share = 100 / len(requests)
    saved = 100 * (1 - ours.dollars / single.dollars)
    more = 100 * (1 - ours.dollars / routed.dollars)
    records = [
        Record(f"{name}: cost", ours.dollars, "$"),
        Record(f"{name}: answered here", ours.local * share, "%"),
        Record(
            f"{name}: below one cloud model for all ({one_for_all[0].model}, "
            f"${single.dollars:.2f})",
            saved, "%", bar=f"≥ {BAR:g}", holds=saved >= BAR,
        ),
        Record(
            f"{name}: below the same decision with clouds only (${routed.dollars:.2f})",
            more, "%", bar=f"≥ {BAR:g}", holds=more >= BAR,
        ),
        Record(
            f"{name}: the most that could be below those: what they take for all that needs no "
            "better model",
            routed.most_saved(local.quality), "%",
        ),
    ]  # fmt: skip
    for who, outcome in (("one model", single), ("clouds", routed), (name, ours)):
        ttfts = sorted(outcome.ttfts)
        records += [
            Record(f"{name}: within the target, {who}", outcome.met * share, "%"),
            Record(f"{name}: first token p50, {who}", statistics.median(ttfts), "s"),
            Record(f"{name}: first token p95, {who}", ttfts[int(0.95 * len(ttfts))], "s"),
        ]
    return records


def main() -> None:
    """All of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--model", type=Path, default=ROOT / ".bench/models/1b.gguf")
    given = parser.parse_args()
    requests = trace(given.requests, SEED)
    routed = simulate(requests, CLOUDS, None)
    learned = measured(given.model)
    pace = learned.pace(0)
    here = f"this machine, {given.model.stem}"
    records = compared(here, requests, Local(here, SMALL, learned, SLOTS))
    gpu = Local("a GPU, 7b", MIDDLE, on_gpu(), 32, watts=300.0)
    records += compared(gpu.name, requests, gpu)
    publish(
        "cost",
        records,
        notes=[
            *ASSUMPTIONS,
            f"{here}: {SMALL:g} points (assumed); measured now: first token "
            f"{(pace.first or 0) * 1e3:.0f} ms and {(pace.per_prompt_token or 0) * 1e3:.2f} ms for "
            f"each token read, {(pace.tpot or 0) * 1e3:.1f} ms for each written, alone; "
            f"{(learned.pace(3).tpot or 0) * 1e3:.1f} ms beside three others; {SLOTS} slots",
            f"{gpu.name}: {MIDDLE:g} points (assumed), speeds of benchmarks/results/gpu-7b.json, "
            "300 W",
            f"energy: {WATTS:g} W while this machine computes, ${KWH:g} a kWh, shared by those who "
            "compute at the same time; the machine itself is there anyway and costs nothing",
            "what the clouds alone take: "
            + ", ".join(
                f"{name} {100 * dollars / routed.dollars:.1f} %"
                for name, dollars in routed.by_sort.most_common()
            ),
            f"local times vary by sigma {NOISE}; a request keeps the pace of its start",
            f"seed {SEED}, {len(requests)} requests; time is simulated, nothing was sent",
        ],
    )


if __name__ == "__main__":
    main()
