"""What is kept of conversations: next turns after a restart, after other chats, and cold misses.

`python -m benchmarks.kv [--models starter 0.5b 1b] [--rounds N] [--quick] [--parts a b c d]`

a, b  A chat of 4,000 (16,000) tokens; the node says that it is saved (`cold_bytes` in /status
      has stopped growing, or 30 s have passed); the server is ended by SIGTERM, or with all its
      processes by SIGKILL; it starts again on the same data; the model is loaded and has answered
      "Hello"; then the time to the first token of the chat's next turn. llama-server goes the same
      way: it holds nothing over a restart by default, so it computes the chat again. The two take
      turns and are never up together. The page cache still holds what was written: it is a restart
      of the program, not of the machine.
c     Time to the first token of a new prompt of 2,000 tokens: our node with the disk tier against
      our node without. Both are up; each miss waits until the one before is saved.
d     Without a restart, beside llama-server: the next turn of a chat right after the last one, and
      after eight other chats have passed. For information.

A model whose context is too small gets the longest chat that fits, without a bar, or is skipped.
With today's sizes a round of (b) takes minutes on two cores: `--parts` picks.
"""

import argparse
import asyncio
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import llama_server, node
from benchmarks.chats import NATURAL, Chat, converse
from benchmarks.client import ask, talk
from benchmarks.models import context_length, ensure
from benchmarks.prompts import Prompts
from benchmarks.report import Record, publish
from benchmarks.rounds import (
    SLOTS,
    alternate,
    arguments,
    compared,
    idle,
    in_turns,
    loaded,
    warm,
)
from benchmarks.servers import Server

ANSWER = 32
ROOM = 512
"""Tokens of context beyond the chat: next turns, answers, inexact counts."""
SAVE_SECONDS = 30.0
STILL_SECONDS = 3.0
BARS = {4000: 1 / 20, 16_000: 1 / 50}
"""Of llama-server's time, by tokens of the chat."""
SIGNALS = (signal.SIGTERM, signal.SIGKILL)


@dataclass(frozen=True)
class Effort:
    """How much is asked."""

    rounds: int
    restart: int = 4000
    """Tokens of the chat of part a."""
    long: int = 16_000
    """The same of part b."""
    miss: int = 2000
    misses: int = 6
    """Rounds of part c, times `rounds`."""
    turn: int = 1500
    """Tokens of the chat of part d."""


FULL = {"starter": Effort(5, misses=4), "0.5b": Effort(3), "1b": Effort(2)}
QUICK = Effort(1, restart=1200, long=1500, miss=800, misses=2, turn=600)


async def build(server: Server, prompts: Prompts, size: int) -> Chat:
    """A chat on a server that has just started."""
    await loaded(server)
    return await converse(server, prompts, size=size, tokens=ANSWER, words=size // 5)


async def saved(server: Server) -> None:
    """Wait until the node has nothing left to write. Other servers have no such thing."""
    if server.name != "ai-assistant":
        return
    seen, since = -1, time.monotonic()
    deadline = since + SAVE_SECONDS
    while time.monotonic() < min(deadline, since + STILL_SECONDS):
        size = (await asyncio.to_thread(node.engine_status, server)).get("cold_bytes")
        if size is None:
            return
        if size != seen:
            seen, since = size, time.monotonic()
        await asyncio.sleep(0.25)


async def next_turn(server: Server, chat: Chat, prompts: Prompts) -> tuple[float, int]:
    """Milliseconds to the first token of one more turn, and how many tokens were asked about.

    The chat itself stays as it is."""
    messages = [*chat.messages, {"role": "user", "content": prompts.question()}]
    answer = await talk(server, messages, ANSWER, **NATURAL)
    return 1000 * answer.first_token_seconds, answer.usage["prompt_tokens"]


def after_restart(
    theirs: bool,
    path: Path,
    sizes: dict[str, int],
    prompts: Prompts,
    size: int,
    how: signal.Signals,
) -> tuple[float, int]:
    """Build a chat, end the server, start it again, ask the next turn."""
    with ExitStack() as stack:
        kept: dict[str, Any] = {} if theirs else {"data": stack.enter_context(node.data_folder())}
        start = llama_server.start if theirs else node.start
        with start(path, **sizes, **kept) as server:
            chat = asyncio.run(_build_and_save(server, prompts, size))
            if how == signal.SIGKILL:
                server.kill()
        with start(path, **sizes, **kept) as server:
            return asyncio.run(_load_and_ask(server, chat, prompts))


async def _build_and_save(server: Server, prompts: Prompts, size: int) -> Chat:
    chat = await build(server, prompts, size)
    await saved(server)
    return chat


async def _load_and_ask(server: Server, chat: Chat, prompts: Prompts) -> tuple[float, int]:
    await loaded(server)
    return await next_turn(server, chat, prompts)


def restarts(model: str, part: str, wanted: int, rounds: int) -> list[Record]:
    """Parts a and b."""
    path = ensure(model)
    fits = context_length(path) - ROOM
    if part == "b" and fits < wanted:
        print(f"{model}: {wanted:,} tokens do not fit into {fits + ROOM:,}: skipped")
        return [Record(f"{model}: {wanted:,} tokens, skipped: context of {fits + ROOM:,}", 0, "ms")]
    size = min(wanted, fits)
    sizes = {"slots": 1, "context": size + ROOM}
    records: list[Record] = []
    for how in SIGNALS:
        print(f"{model}: {size:,} tokens, restart after {how.name} …", flush=True)
        values: dict[bool, list[float]] = {False: [], True: []}
        tokens = 0
        for turn in range(rounds):
            for theirs in in_turns((False, True), turn):
                prompts = Prompts(model, part, how, turn)
                took, tokens = after_restart(theirs, path, sizes, prompts, size, how)
                values[theirs].append(took)
        name = f"{model}: next turn after {how.name}, {tokens:,} tokens"
        records.append(compared(name, "ms", values[False], values[True], at_most=BARS.get(size)))
    return records


def misses(model: str, effort: Effort) -> list[Record]:
    """Part c: what the disk tier costs those who gain nothing by it."""
    path = ensure(model)
    size = min(effort.miss, context_length(path) - ROOM)
    sizes = {"slots": SLOTS, "context": size + ROOM}
    off = {"AI_ASSISTANT_CACHE_DISK": "false"}

    async def miss(server: Server, turn: int) -> float:
        prompt = Prompts(model, "miss", turn).words(size - 50)
        answer = await ask(server, prompt, ANSWER)
        await saved(server)
        return 1000 * answer.first_token_seconds

    print(f"{model}: misses of {size:,} tokens …", flush=True)
    with (
        node.start(path, **sizes) as with_disk,
        node.start(path, **sizes, environment=off) as without,
    ):
        values = asyncio.run(
            _warm_and_alternate((with_disk, without), effort.misses * effort.rounds, miss)
        )
    name = f"{model}: new prompt of {size:,} tokens, disk tier on / off"
    return [compared(name, "ms", *values, at_most=1.03)]


async def _warm_and_alternate(pair: Sequence[Server], rounds: int, measure: Any) -> list[Any]:
    for server in pair:
        await warm(server)
    return await alternate(pair, rounds, measure)


def turns(model: str, effort: Effort) -> list[Record]:
    """Part d: what is kept while the server lives."""
    path = ensure(model)
    size = min(effort.turn, context_length(path) - ROOM)
    sizes = {"slots": SLOTS, "context": size + ROOM}

    async def measure(server: Server, turn: int) -> tuple[float, float]:
        prompts = Prompts(model, "turns", turn)
        chat = await converse(server, prompts, size=size, tokens=ANSWER)
        soon, _ = await next_turn(server, chat, prompts)
        for _ in range(SLOTS):
            await converse(server, prompts, size=size // 4, tokens=ANSWER)
        late, _ = await next_turn(server, chat, prompts)
        await saved(server)
        return soon, late

    print(f"{model}: turns of {size:,} tokens …", flush=True)
    with node.start(path, **sizes) as ours, llama_server.start(path, **sizes) as theirs:
        values = asyncio.run(_warm_and_alternate((ours, theirs), effort.rounds, measure))
        calm = idle(model, (ours, theirs))
    names = ("right after the last", f"after {SLOTS} other chats")
    records = [calm]
    for i, name in enumerate(names):
        ours_took, theirs_took = ([took[i] for took in mine] for mine in values)
        name = f"{model}: next turn {name}, {size:,} tokens"
        records.append(compared(name, "ms", ours_took, theirs_took))
    return records


def measure_model(model: str, effort: Effort, parts: Sequence[str]) -> list[Record]:
    """All chosen figures of one model."""
    records: list[Record] = []
    if "a" in parts:
        records += restarts(model, "a", effort.restart, effort.rounds)
    if "b" in parts:
        records += restarts(model, "b", effort.long, effort.rounds)
    if "c" in parts:
        records += misses(model, effort)
    if "d" in parts:
        records += turns(model, effort)
    return records


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--parts", nargs="+", choices="abcd", default=["a", "b", "c", "d"])
    args: argparse.Namespace = parser.parse_args()
    records: list[Record] = []
    for model in args.models:
        effort = QUICK if args.quick else FULL.get(model, Effort(3))
        if args.rounds:
            effort = replace(effort, rounds=args.rounds)
        records += measure_model(model, effort, args.parts)
    publish("kv-quick" if args.quick else "kv", records, notes=NOTES)


NOTES = (
    "Peer: llama-server of the same source, its defaults, the same context.",
    "Peer of a new prompt: our own node without the disk tier.",
    "A restart ends the program; the operating system still holds its files in memory.",
)


if __name__ == "__main__":
    main()
