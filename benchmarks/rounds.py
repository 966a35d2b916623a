"""How pairs of servers are asked in turns and what is made of their figures."""

import argparse
import asyncio
import statistics
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from benchmarks.client import Answer, Refused, ask, ask_together
from benchmarks.prompts import Prompts
from benchmarks.report import Record
from benchmarks.servers import Server

SLOTS = 8
T = TypeVar("T")


def arguments(description: str | None) -> argparse.ArgumentParser:
    """What every benchmark of models understands."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["starter", "0.5b", "1b"])
    parser.add_argument("--rounds", type=int, help="of each figure; default: by the model's size")
    parser.add_argument("--quick", action="store_true", help="minutes less, worth less")
    return parser


def in_turns(members: Sequence[T], turn: int) -> Sequence[T]:
    """A B, then B A, and so on: who goes first does so every other time."""
    return members if turn % 2 == 0 else members[::-1]


async def alternate(
    servers: Sequence[Server], rounds: int, measure: Callable[[Server, int], Awaitable[T]]
) -> list[list[T]]:
    """`measure(server, turn)` for every server in every round: a list of values for each."""
    values: dict[Server, list[T]] = {server: [] for server in servers}
    for turn in range(rounds):
        for server in in_turns(servers, turn):
            values[server].append(await measure(server, turn))
    return list(values.values())


def compared(
    name: str,
    unit: str,
    ours: Sequence[float],
    peer: Sequence[float],
    *,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Record:
    """Medians, the median of the rounds' ratios, and the verdict."""
    ratio = statistics.median(a / b for a, b in zip(ours, peer, strict=True))
    bar, holds = judge(ratio, at_least, at_most)
    return Record(name, statistics.median(ours), unit, statistics.median(peer), ratio, bar, holds)


def judge(
    ratio: float, at_least: float | None = None, at_most: float | None = None
) -> tuple[str | None, bool | None]:
    """The bar in words and whether it holds."""
    if at_least is not None:
        return f"≥ {at_least:.4g}", ratio >= at_least
    if at_most is not None:
        return f"≤ {at_most:.4g}", ratio <= at_most
    return None, None


def rate(answers: Sequence[Answer]) -> float:
    """Tokens made per second, between the first start and the last end."""
    made = sum(answer.usage["completion_tokens"] for answer in answers)
    begun = min(answer.started for answer in answers)
    return made / (max(answer.ended for answer in answers) - begun)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all do not exceed; linear between neighbours."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


async def loaded(server: Server) -> None:
    """Ask until the model is loaded."""
    for _ in range(600):
        try:
            await ask(server, "Hello", 4)
            return
        except Refused as refusal:
            if refusal.status != 503:
                raise
            await asyncio.sleep(0.2)
    raise TimeoutError(f"{server.name} has not loaded its model")


async def warm(server: Server) -> None:
    """Wait for the model, then run each shape of batch once."""
    await loaded(server)
    await ask_together(server, [Prompts("warm", n).question() for n in range(SLOTS)], 8)


def idle(model: str, servers: Sequence[Server]) -> Record:
    """A server that waits while another one is measured must not burn processor time."""
    ours, *others = (server.idle_cpu() for server in servers)
    fair = max(ours, *others, 0) < 0.02
    return Record(f"{model}: idle", ours, "cores", max(others), None, "all < 0.02", fair)
