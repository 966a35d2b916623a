"""What a node adds between a client and a provider, beside LiteLLM's proxy.

A server answers at once (`instant`). The same clients ask it directly, through a node whose
provider it is, with the gate and its rules in force, and through LiteLLM's proxy. Rounds go in
turns; what a program adds is the median through it less the median without it.
"""

import json
import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ai_assistant.policy.egress.verify import verify
from benchmarks import elsewhere, litellm_proxy
from benchmarks.crowd import Load, crowd
from benchmarks.report import Record
from benchmarks.servers import Server, free_port, launched

TOKENS = 16
CLIENTS = 64
ROUNDS = 3
ADDED_BAR = 0.25
RATE_BAR = 4.0
GROWTH_BAR = 5.0
"""MB over the second half of many requests."""
WORD = b"word "


@dataclass
class Party:
    """One way to the instant server, and what it took."""

    name: str
    port: int
    model: str
    alone: int
    """Requests of one client a round."""
    together: int
    """The same of all clients."""
    ones: list[Load] = field(default_factory=list)
    crowds: list[Load] = field(default_factory=list)

    def ask(self, count: int, clients: int) -> Load:
        """`count` answers, every one of them checked."""
        found = crowd(
            self.port, request(self.model), count, clients=clients, word=WORD, words=TOKENS
        )
        if found.wrong:
            raise RuntimeError(f"{self.name}: {found.wrong} of {count} answers were wrong")
        return found

    def one(self, figure: str = "median") -> float:
        """Milliseconds of one client's answers: the middle of the rounds."""
        return statistics.median(getattr(found, figure)() for found in self.ones)

    def many(self) -> float:
        """The same of all clients' answers."""
        return statistics.median(found.median() for found in self.crowds)

    def rate(self) -> float:
        """Answers per second: the middle of the rounds."""
        return statistics.median(found.rate for found in self.crowds)


def request(model: str) -> bytes:
    """What every client sends."""
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "Say something short about the sea."},
    ]
    options = {"max_tokens": TOKENS, "temperature": 0.7, "stream": True}
    usage = {"stream_options": {"include_usage": True}}
    body = json.dumps({"model": model, "messages": messages, **options, **usage}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nAuthorization: Bearer {litellm_proxy.KEY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@contextmanager
def instant() -> Iterator[int]:
    """The server that answers at once; its port."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.instant", str(port), str(TOKENS)]
    with launched("instant", command, port=port):
        yield port


@contextmanager
def node(upstream: int) -> Iterator[tuple[Server, Path]]:
    """Our node with that server as its provider; it wants a key, as LiteLLM's proxy does."""
    settings = elsewhere.provider("instant", f"http://127.0.0.1:{upstream}/v1")
    keys = {"AI_ASSISTANT_API_KEY": litellm_proxy.KEY}
    with elsewhere.start(settings, environment=keys) as started:
        yield started


def beside(scale: float, workers: int) -> list[Record]:
    """Latency and rate of all three, in one run."""
    with ExitStack() as stack:
        port = stack.enter_context(instant())
        ours, _ = stack.enter_context(node(port))
        theirs = stack.enter_context(litellm_proxy.start(port, workers=workers))
        direct = Party("direct", port, "starter", int(1000 * scale), int(4000 * scale))
        mine = Party("node", ours.port, "far", int(400 * scale), int(2000 * scale))
        peer = Party("LiteLLM", theirs.port, "starter", int(60 * scale), int(192 * scale))
        for party in (direct, mine, peer):
            party.ask(CLIENTS, 4)
        for _ in range(ROUNDS):
            for party in (direct, mine, peer):
                party.ones.append(party.ask(party.alone, 1))
            for party in (direct, mine, peer):
                party.crowds.append(party.ask(party.together, CLIENTS))
        memory = [sum(server.megabytes()[:1]) for server in (ours, theirs)]
    return [*compared(direct, mine, peer), Record("memory", memory[0], "MB", peer=memory[1])]


def compared(direct: Party, mine: Party, peer: Party) -> list[Record]:
    """What was added, against the bars."""
    rows = [
        ("1 client: first word, added", "median_first"),
        ("1 client: whole answer, added", "median"),
    ]
    records = [
        _added(name, mine.one(figure), peer.one(figure), direct.one(figure))
        for name, figure in rows
    ]
    records.append(
        _added(f"{CLIENTS} clients: whole answer, added", mine.many(), peer.many(), direct.many())
    )
    ratio = mine.rate() / peer.rate()
    bar = f"≥ {RATE_BAR:g} × LiteLLM's"
    name = f"{CLIENTS} clients"
    rate = Record(name, mine.rate(), "requests/s", peer.rate(), ratio, bar, ratio >= RATE_BAR)
    return [*records, rate, Record(f"{CLIENTS} clients, directly", direct.rate(), "requests/s")]


def _added(name: str, mine: float, peer: float, direct: float) -> Record:
    ours, theirs = mine - direct, peer - direct
    ratio = ours / theirs
    bar = f"≤ {ADDED_BAR:g} of LiteLLM's"
    return Record(name, ours, "ms", theirs, ratio, bar, ratio <= ADDED_BAR)


def memory(count: int) -> list[Record]:
    """Whether a node grows over `count` requests; its egress log is read afterwards."""
    samples: list[tuple[int, float]] = []
    with instant() as port, node(port) as (server, folder):

        def look(done: int) -> None:
            if done % (count // 20) == 0:
                samples.append((done, server.process.memory_info().rss / 1e6))

        found = crowd(
            server.port, request("far"), count, clients=CLIENTS, word=WORD, words=TOKENS, every=look
        )
        connections = len(server.process.net_connections(kind="tcp"))
        checked = verify(folder / "data" / "egress" / "node")
    half, last = samples[len(samples) // 2][1], samples[-1][1]
    whole = checked.sound and checked.records >= 2 * count
    return [
        Record(f"memory after {count // 2:,} requests", half, "MB"),
        Record(f"memory after {count:,} requests", last, "MB",
               bar=f"≤ {GROWTH_BAR:g} MB more", holds=last - half <= GROWTH_BAR),
        Record(f"wrong answers of {count:,}", found.wrong, "", bar="0", holds=not found.wrong),
        Record("connections open at the end", connections, ""),
        Record("egress log: records, verified", checked.records, "",
               bar="2 a request, sound", holds=whole),
    ]  # fmt: skip
