"""The soak with faults: clients that leave, engines that are killed, nodes that start again.

`python -m benchmarks.soak --faults [--requests 1000] [--together 8]`

Clients lead conversations of three turns whose right answers were found before, by a node without
disk tier and speculation that was asked one thing at a time. One question in ten is given up after
a moment. Every so often comes the next of three faults: the engine is killed (SIGKILL), the node is
ended (SIGTERM) and starts again on its data, node and engine are killed and start again. Clients go
on where they were as soon as the node answers, so what they said before comes from the disk tier.

A question whose time overlaps a fault may be turned away or end in an error, and is asked again. An
engine's death must end what it had accepted in a named error, not in silence: the node is there to
say so. All else must be right, and an answer that comes whole must be right even then.
"""

import asyncio
import contextlib
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any

import psutil

from benchmarks import node
from benchmarks.chats import Message
from benchmarks.client import Answer, Cut, Refused, ask, talk
from benchmarks.prompts import Prompts
from benchmarks.report import Record
from benchmarks.rounds import loaded
from benchmarks.servers import START_SECONDS, Server
from benchmarks.soak import Expected, Soak, judge
from benchmarks.ties import steps

TURNS = 3
SYSTEM_WORDS = 280
"""More than a block of 256 tokens."""
LEAVE = 0.1
"""Share of questions that their clients give up."""
FAULTS = ("engine", "node", "all")
WORDS = {
    "engine": "engine killed",
    "node": "node restarted",
    "all": "node and engine killed",
}
HONEST = {
    "AI_ASSISTANT_CACHE_DISK": "false",
    "AI_ASSISTANT_ENGINE_SPECULATION": "false",
}


@dataclass(frozen=True)
class Turn:
    """A question with all that was said before, and what is right."""

    messages: list[Message]
    expected: Expected


async def conversations(server: Server, count: int, tokens: int) -> list[list[Turn]]:
    """Conversations as an honest server leads them, one question at a time."""
    await loaded(server)
    found: list[list[Turn]] = []
    for n in range(count):
        prompts = Prompts("faults", n)
        messages = [{"role": "system", "content": prompts.words(SYSTEM_WORDS)}]
        turns: list[Turn] = []
        for _ in range(TURNS):
            messages.append({"role": "user", "content": f"Repeat: {prompts.words(30)}"})
            answer = await talk(server, messages, tokens, logprobs=True, top_logprobs=10)
            turns.append(Turn(list(messages), Expected(answer.text, steps(answer))))
            messages.append({"role": "assistant", "content": answer.text})
        found.append(turns)
    return found


@dataclass
class House:
    """A node that is ended and started again on the same data."""

    start: Callable[[], AbstractContextManager[Server]]
    up: asyncio.Event = field(default_factory=asyncio.Event)
    troubles: list[list[float]] = field(default_factory=list)
    """When each fault began and was over."""
    kinds: list[str] = field(default_factory=list)
    stack: ExitStack = field(default_factory=ExitStack)
    current: Server | None = None
    cold_tokens: int = 0
    """Prompt tokens that came from disk, of all engines so far."""

    @property
    def server(self) -> Server:
        """The node as it runs now."""
        if self.current is None:
            raise RuntimeError("the house is not open")
        return self.current

    async def open(self) -> None:
        """Start, and wait for the model."""
        self.current = await asyncio.to_thread(self.stack.enter_context, self.start())
        await self.answering()
        self.up.set()

    async def answering(self) -> None:
        """Wait until a question is answered, whatever is said before."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(Refused, OSError):
                await ask(self.server, "Hello", 4)
                return
            await asyncio.sleep(0.1)
        raise TimeoutError(f"no answer after a fault:\n{self.server.words()}")

    async def look(self) -> dict[str, Any]:
        """What the engine says of itself."""
        return await asyncio.to_thread(node.engine_status, self.server)

    async def close(self) -> None:
        """End the node as a service manager would."""
        await asyncio.to_thread(self.stack.close)

    async def kill_engine(self) -> None:
        """As the kernel's out-of-memory killer would."""
        psutil.Process((await self.look())["pid"]).kill()
        await self.answering()

    async def restart(self) -> None:
        """Orderly."""
        await self.close()
        await self.open()

    async def kill_all(self) -> None:
        """As a power cut would, but for what the operating system has not written yet."""
        await asyncio.to_thread(self.server.kill)
        await self.restart()

    async def suffer(self, kind: str) -> None:
        """One fault, from its beginning until the model answers again."""
        self.cold_tokens += (await self.look()).get("cold_hit_tokens", 0)
        trouble = [time.perf_counter(), float("inf")]
        self.troubles.append(trouble)
        self.kinds.append(kind)
        self.up.clear()
        await {"engine": self.kill_engine, "node": self.restart, "all": self.kill_all}[kind]()
        trouble[1] = time.perf_counter()
        self.up.set()

    def trouble_since(self, begun: float) -> str | None:
        """The kind of the fault that a question asked then has lived through."""
        kinds = zip(self.kinds, self.troubles, strict=True)
        return next((kind for kind, (_, over) in kinds if over > begun), None)


@dataclass
class Run:
    """Everything that the clients share."""

    house: House
    talks: list[list[Turn]]
    tokens: int
    result: Soak
    left: int
    """Questions to be asked still."""
    every: float
    """Seconds between two faults."""

    async def client(self, n: int) -> None:
        """Lead conversations until enough was asked."""
        chance = random.Random(n)
        while self.left > 0:
            for turn in chance.choice(self.talks):
                await self._until_settled(turn, chance)

    async def _until_settled(self, turn: Turn, chance: random.Random) -> None:
        outcome = "turned away"
        while outcome in ("turned away", "cut") and self.left > 0:
            await self.house.up.wait()
            outcome, detail = await self._ask(turn, chance)
            self.result.note(outcome, detail)
            if outcome in ("turned away", "cut"):
                await asyncio.sleep(0.05)
            else:
                self.left -= 1

    async def _ask(self, turn: Turn, chance: random.Random) -> tuple[str, str]:
        patience = chance.expovariate(3) if chance.random() < LEAVE else None
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(patience):
                answer = await talk(self.house.server, turn.messages, self.tokens)
            return verdict(turn, answer, self.tokens)
        except TimeoutError:
            return ("gave up", "") if patience is not None else ("lost", "silence")
        except (Refused, OSError, ValueError) as error:
            return self._excuse(error, begun)

    def _excuse(self, error: Exception, begun: float) -> tuple[str, str]:
        trouble = self.house.trouble_since(begun)
        if trouble is None:
            return "lost", repr(error)
        if isinstance(error, Refused):
            return ("cut", "") if error.status == 200 else ("turned away", "")
        if trouble == "engine" or isinstance(error, ValueError):
            return "silent", repr(error)
        return ("cut", "") if isinstance(error, Cut) else ("turned away", "")

    async def trouble(self) -> None:
        """The faults, one after the other, while there is something left to ask."""
        for kind in itertools.cycle(FAULTS):
            await asyncio.sleep(self.every)
            if self.left <= 0:
                return
            await self.house.suffer(kind)


def verdict(turn: Turn, answer: Answer, tokens: int) -> tuple[str, str]:
    """What the soak says of the answer."""
    question = turn.messages[-1]["content"]
    return judge(question, answer, tokens, {question: turn.expected})


async def soak_with_faults(
    start: Callable[..., AbstractContextManager[Server]],
    *,
    requests: int,
    together: int,
    tokens: int,
    every: float,
) -> tuple[Soak, House]:
    """Ask, break, ask again."""
    with start(environment=HONEST) as honest:
        talks = await conversations(honest, max(4, min(40, requests // 10)), tokens)
    with node.data_folder() as data:
        house = House(lambda: start(data=data))
        await house.open()
        try:
            run = Run(house, talks, tokens, Soak(), requests, every)
            await asyncio.gather(run.trouble(), *(run.client(n) for n in range(together)))
            house.cold_tokens += (await house.look()).get("cold_hit_tokens", 0)
        finally:
            await house.close()
    return run.result, house


def records(result: Soak, house: House) -> list[Record]:
    """The figures and their bars."""
    count, kinds = result.outcomes, Counter(house.kinds)
    whole = max(1, count["right"] + count["tie"] + count["wrong"])
    down = [over - begun for begun, over in house.troubles]
    return [
        *(Record(f"faults: {WORDS[kind]}", kinds[kind], "") for kind in FAULTS),
        Record("from a fault to the next answer, longest", max(down, default=0), "s"),
        Record("whole answers", whole, ""),
        Record("given up by the client", count["gave up"], ""),
        Record("turned away by a fault, asked again", count["turned away"], ""),
        Record("cut by a fault, asked again", count["cut"], ""),
        *(
            Record(name, count[key], "", bar="0", holds=count[key] == 0)
            for key, name in (
                ("silent", "ended by a fault without a named error"),
                ("lost", "lost without a fault"),
                ("wrong", "wrong"),
            )
        ),
        Record("batched ≠ alone, at a tie", 100 * count["tie"] / whole, "%"),
        Record("prompt tokens from disk", house.cold_tokens, ""),
    ]
