"""A model is laid out anew under running streams: how long do they pause, and is anything lost?

`python -m benchmarks.move [--model 0.5b] [--streams 8] [--plans "threads=1" "context=8192" …]
[--how auto]`; on a machine with a GPU for example
`--model 7b --plans gpu_layers=16@1400 gpu_layers=99@700 gpu_layers=24@1400 gpu_layers=99@700`
(answers of so many tokens: all must still be written when the move ends).

For each plan in turn: so many streams write, the model is moved in their midst by the same address
that `ai-assistant move` calls, and all are read to their end. Every answer must have exactly the
tokens that were asked for, each told once. The pause is the longest silence of any stream around
the move. The bar is against the reload: what the new engine took to load; for plans that leave the
weights where they are, what the node took to start.
"""

import argparse
import asyncio
import json
import time
from dataclasses import dataclass

from benchmarks import node
from benchmarks.client import Answer, ask, exchange
from benchmarks.models import ensure
from benchmarks.prompts import Prompts
from benchmarks.report import Record, publish
from benchmarks.rounds import warm
from benchmarks.servers import Server

PLANS = ("threads=1", "threads=2", "context=8192 slots=12", "share_weights=true",
         "share_weights=false")  # fmt: skip
ALLOWED = 1.2
BEFORE, AFTER = 0.25, 2.0
"""Seconds around the move in which a silence is the move's."""


@dataclass
class Found:
    """One move under streams."""

    result: dict[str, float]
    pause: float
    """Seconds."""
    usual: float
    """The longest silence of a stream elsewhere, in seconds."""
    wrong: list[str]


async def move(server: Server, model: str, plan: str, how: str) -> dict[str, float]:
    """The node's own report of a move."""
    changes = dict(pair.split("=", 1) for pair in plan.split())
    body = json.dumps({"plan": changes, "how": how}).encode()
    answer = await exchange(server, f"/admin/models/{model}/move", body)
    lines = b"".join(piece for _, piece in answer.pieces).splitlines()
    last = json.loads(lines[-1])
    if "result" not in last:
        raise RuntimeError(f"{plan}: {last}")
    return last["result"]


async def under_streams(
    server: Server, model: str, plan: str, how: str, streams: int, tokens: int
) -> Found:
    """Moves when every stream has said something."""
    prompts = [Prompts("move", plan, n).question() for n in range(streams)]
    asked = [asyncio.create_task(ask(server, text, tokens, logprobs=1)) for text in prompts]
    for _ in range(600):
        if node.engine_status(server).get("running", 0) == streams:
            break
        await asyncio.sleep(0.05)
    begun = time.perf_counter()
    result = await move(server, model, plan, how)
    ended = time.perf_counter()
    ran = sum(not one.done() for one in asked)
    answers = await asyncio.gather(*asked)
    during = [gap for one in answers for at, gap in one.silences if _within(at, begun, ended)]
    others = [gap for one in answers for at, gap in one.silences if not _within(at, begun, ended)]
    wrong = [problem for one in answers if (problem := _wrong(one, tokens))]
    if ran < streams:
        wrong.append(f"only {ran} of {streams} streams were still writing: ask for more --tokens")
    return Found(result, max(during, default=0.0), max(others, default=0.0), wrong)


def _within(at: float, begun: float, ended: float) -> bool:
    return begun - BEFORE <= at <= ended + AFTER


def _wrong(answer: Answer, tokens: int) -> str | None:
    told = sum(
        len((choice.get("logprobs") or {}).get("tokens", ()))
        for _, event in answer.events
        for choice in event.get("choices", ())
    )
    if answer.finish != "length" or answer.usage["completion_tokens"] != tokens:
        return f"ended with {answer.finish} after {answer.usage['completion_tokens']} tokens"
    return None if told == tokens else f"{told} tokens told, {tokens} asked for"


async def measure(server: Server, chosen: argparse.Namespace, first_load: float) -> list[Record]:
    """Two figures for each plan."""
    records: list[Record] = []
    model = server.get("/status")["models"][0]["model"]["id"]
    await warm(server)
    for wish in chosen.plans:
        plan, _, tokens = wish.partition("@")
        found = await under_streams(
            server, model, plan, chosen.how, chosen.streams, int(tokens or chosen.tokens)
        )
        reload = first_load
        if found.result["how"] != "in place":
            reload = found.result["load_seconds"]
        records += _records(plan, found, reload)
    return records


def _records(plan: str, found: Found, reload: float) -> list[Record]:
    result = found.result
    name = f"{plan} ({result['how']})"
    bar = f"≤ {ALLOWED} of the reload"
    ratio = found.pause / reload if reload else 0.0
    return [
        Record(f"{name}: pause", found.pause, "s", reload, ratio, bar, ratio <= ALLOWED),
        Record(f"{name}: pause as the node says", result["paused_seconds"], "s"),
        Record(f"{name}: longest silence at other times", found.usual, "s"),
        Record(f"{name}: whole move", result["seconds"], "s"),
        Record(f"{name}: streams moved", result["sequences"], ""),
        Record(f"{name}: handed over", result["bytes"] / 1e6, "MB"),
        Record(f"{name}: wrong answers", len(found.wrong), "", None, None, "0", not found.wrong),
    ]


def main() -> None:
    """Print the table; write `benchmarks/results/move.json`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="0.5b")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=192, help="of each answer")
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--plans", nargs="+", default=list(PLANS))
    parser.add_argument("--how", default="auto", choices=["auto", "beside", "instead"])
    parser.add_argument("--first", nargs="*", default=[], help="more flags of the node")
    chosen = parser.parse_args()
    path = ensure(chosen.model)
    begun = time.perf_counter()
    with node.start(path, slots=8, context=chosen.context, extra=chosen.first) as server:
        first_load = time.perf_counter() - begun
        records = asyncio.run(measure(server, chosen, first_load))
    name = "move" if chosen.how == "auto" else f"move-{chosen.how}"
    publish(
        name,
        records,
        notes=[
            f"{chosen.streams} streams of {chosen.model}, {chosen.tokens} tokens each or what "
            f"follows @; the reload of "
            f"plans that move weights is the new engine's load as it was in this move, else the "
            f"node's start ({first_load:.1f} s)."
        ],
    )


if __name__ == "__main__":
    main()
