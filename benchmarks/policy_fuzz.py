"""100,000 routed requests through the real router, relay and gate: what leaves is searched.

Chats of one and of several turns, texts, vectors, token counts and lines of batches; protected
texts in every field; conversations whose label is said once, by name or by history; failures of
every kind, with retries, fallbacks and continuations. Nothing protected may be in any body.
"""

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ai_assistant.gateway.desk import Desk
from ai_assistant.gateway.sender import Sender, write_owner
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.jobs.ports import Call
from ai_assistant.policy.egress.log import EgressLog
from ai_assistant.policy.egress.verify import read_records, verify
from ai_assistant.policy.expressions import Expression, escaped
from ai_assistant.policy.gate import Gate
from ai_assistant.policy.memory import Memory
from ai_assistant.policy.memory_file import MemoryFile
from ai_assistant.policy.rules_file import RulesFile
from ai_assistant.policy.scan import Part, Scanner
from ai_assistant.protocol.errors import AssistantError
from ai_assistant.protocol.requests import (
    Bounds,
    ChatMessage,
    ChatPrompt,
    EmbedRequest,
    GenerateRequest,
    Origin,
    TextPrompt,
    TokenizeRequest,
    Tool,
    ToolCall,
)
from ai_assistant.protocol.routing import Wishes
from ai_assistant.scheduler.router import Router
from ai_assistant.scheduler.routing.routes import Member, Route, RoutingSettings
from ai_assistant.scheduler.scheduler import Scheduler
from ai_assistant.scheduler.settings import SchedulerSettings
from ai_assistant.workers.remote.health import Health
from benchmarks.policy_corpus import Example, corpus
from benchmarks.policy_upstreams import HERE, PROVIDERS, Here, Recorder, workers_of

RULES = """
[unlabelled]
allow = ["lan", "openai", "claude", "mistral@eu"]
[labels.email]
redact = ["lan", "cloud"]
[labels.phone]
redact = ["cloud"]
[labels.card]
[labels.national_id]
redact = ["mistral@eu"]
[labels.iban]
[labels.secret]
redact = ["cloud"]
[labels.medical_record]
[labels.ip_address]
redact = ["*"]
[labels.board]
[labels.minutes]
paths = ["/v1/minutes"]
"""
ROUTES = RoutingSettings(
    routes={
        "clouds": Route(models=tuple(f"{name}/m" for name in PROVIDERS)),
        "mixed": Route(models=("here", "openai/m", "attic/m", "mistral/m")),
        "even": Route(models=(Member("claude/m", 1.0), Member("attic/m", 2.0))),
        "cheap": Route(models=("openai/m", "mistral/m"), objective="cost", fallback=("here",)),
    }
)
NAMES = ("clouds", "clouds", "clouds", "mixed", "even", "cheap", "auto", "openai/m", "claude/m")
WISHES = (
    None,
    None,
    Wishes(objective="latency"),
    Wishes(objective="cost"),
    Wishes(regions=("eu",)),
)
LEFT_OVER = re.compile(r"\[(?:EMAIL|PHONE|NATIONAL_ID|IP_ADDRESS)_\d+\]")
CANARY = re.compile(rb"kestrel [0-9a-f]{10}")
HARMLESS = (
    "Please read this.",
    "请看一下。",
    "What follows is for the file.",
    "下面的内容要归档。",
)


def pool_of(seed: int) -> list[Example]:
    """Protected texts that the detectors find: what they miss is the corpus report's matter."""
    scanner = Scanner(with_addresses=True)

    def covered(one: Example) -> bool:
        (own,) = scanner.scan([Part(one.text)]).findings
        return any(
            found.label == one.label and found.start <= one.start and found.end >= one.end
            for found in own
        )

    return [one for one in corpus(seed, 6) if one.label and covered(one)]


class Watch:
    """Every body that leaves, searched for everything that must not."""

    def __init__(self, pool: Sequence[Example]) -> None:
        values = {one.text[one.start : one.end] for one in pool}
        forms = values | {msgspec.json.encode(value).decode()[1:-1] for value in values}
        forms |= {value.encode("ascii", "backslashreplace").decode() for value in values}
        self._searched = Expression("|".join(map(escaped, sorted(forms, key=len, reverse=True))))
        self.bodies = self.leaked = self.bytes = 0
        self.first = b""

    def saw(self, body: bytes) -> None:
        """One departure."""
        self.bodies += 1
        self.bytes += len(body)
        if self._searched.fits(body) or CANARY.search(body):
            self.leaked += 1
            self.first = self.first or body


class Asker:
    """Makes requests and asks them as clients do."""

    def __init__(self, rng: random.Random, pool: Sequence[Example], router: Router) -> None:
        self.rng, self._pool, self._router = rng, pool, router
        self.desk = Desk(router, GatewaySettings())
        self.told: Counter[str] = Counter()
        self._number = 0

    async def some(self) -> None:
        """One of all kinds."""
        kind = self.rng.choices(
            (self._chat, self._talk, self._text, self._vectors, self._count, self._line),
            (40, 12, 8, 12, 4, 16),
        )[0]
        await kind()

    async def _chat(self) -> None:
        await self._ask(self._request(self._prompt()))

    async def _text(self) -> None:
        texts = ("".join(pieces) for pieces in self._pieces())
        await self._ask(self._request(TextPrompt(" ".join(texts))))

    async def _talk(self) -> None:
        """Its label is said, or found, in the first turn only; all that follows is harmless."""
        way = self.rng.choice(("header", "path", "found"))
        tenant = self.rng.choice(("ann", "bob"))
        name = f"talk-{self.rng.getrandbits(40):x}"
        by_name = self.rng.random() < 0.5 or way == "found"
        first = f"kestrel {self.rng.getrandbits(40):010x} {self.rng.choice(HARMLESS)}"
        if way == "found":
            first += " " + self._one(("card", "iban", "medical_record")).text
        origin = Origin(
            endpoint="/v1/minutes" if way == "path" else "",
            conversation=name if by_name else "",
            bounds=Bounds(labels=("board",) if way == "header" else ()),
        )
        messages = [ChatMessage(role="user", content=first)]
        for turn in range(self.rng.randint(2, 4)):
            if by_name and turn and self.rng.random() < 0.5:
                messages = messages[-1:]  # some clients send the end of a conversation only
            prompt = ChatPrompt(messages=tuple(messages))
            request = self._request(prompt)
            said = await self._ask(msgspec.structs.replace(request, origin=origin, tenant=tenant))
            canary = f"kestrel {self.rng.getrandbits(40):010x}: {self.rng.choice(HARMLESS)}"
            messages += [
                ChatMessage(role="assistant", content=said or "I could not."),
                ChatMessage(role="user", content=canary),
            ]
            origin = Origin(conversation=name if by_name else "")

    async def _vectors(self) -> None:
        query = self._one(None).text if self.rng.random() < 0.3 else None
        request = EmbedRequest(
            request_id=self._id(), model=self.rng.choice(NAMES),
            inputs=tuple(map(TextPrompt, self._texts())), query=query,
        )  # fmt: skip
        await self._counted(self._router.embed(request))

    async def _count(self) -> None:
        request = TokenizeRequest(
            request_id=self._id(), model=self.rng.choice(NAMES), prompt=self._prompt()
        )
        await self._counted(self._router.tokenize(request))

    async def _line(self) -> None:
        """A line of a batch, by the very handler that answers clients."""
        labels = ("board",) if self.rng.random() < 0.2 else ()
        texts = self._texts()
        if labels:
            texts.append(f"kestrel {self.rng.getrandbits(40):010x}")
        model, name = self.rng.choice(NAMES), self._id()
        if self.rng.random() < 0.3:
            endpoint, body = "/v1/embeddings", {"model": model, "input": texts}
        else:
            messages = [{"role": "user", "content": text} for text in texts]
            endpoint, body = "/v1/chat/completions", {"model": model, "messages": messages}
        call = Call(
            endpoint=endpoint, body=msgspec.json.encode(body), owner=write_owner(Sender()),
            request_id=name, batch="batch_1", labels=labels, spill=self.rng.random() < 0.5,
        )  # fmt: skip
        await self._counted(self.desk.answer(call))

    async def _ask(self, request: GenerateRequest) -> str:
        self.told["requests"] += 1
        said: list[str] = []
        try:
            async for chunk in self._router.generate(request):
                said.append(chunk.text)
                if self.rng.random() < 0.002:
                    self.told["given up by the client"] += 1
                    break
            self.told["answered"] += 1
        except AssistantError as error:
            self.told[f"error {error.code}"] += 1
        text = "".join(said)
        self.told["placeholders that were not restored"] += bool(LEFT_OVER.search(text))
        return text

    async def _counted(self, work: object) -> None:
        self.told["requests"] += 1
        try:
            await work  # type: ignore[misc]
            self.told["answered"] += 1
        except AssistantError as error:
            self.told[f"error {error.code}"] += 1

    # What is asked.

    def _id(self) -> str:
        self._number += 1
        return f"r{self._number}"

    def _request(self, prompt: ChatPrompt | TextPrompt) -> GenerateRequest:
        return GenerateRequest(
            request_id=self._id(), model=self.rng.choice(NAMES), prompt=prompt,
            wishes=self.rng.choice(WISHES), tenant=self.rng.choice(("ann", "bob")),
            stop=(self._one(None).text,) if self.rng.random() < 0.03 else (),
        )  # fmt: skip

    def _one(self, labels: tuple[str, ...] | None) -> Example:
        while True:
            one = self.rng.choice(self._pool)
            if labels is None or one.label in labels:
                return one

    def _texts(self) -> list[str]:
        return [text for pieces in self._pieces() for text in pieces]

    def _pieces(self) -> list[list[str]]:
        """Nothing to four protected texts; one in eight is split in two neighbours."""
        texts = [[self.rng.choice(HARMLESS)]]
        for one in self.rng.sample(self._pool, self.rng.choice((0, 0, 1, 1, 2, 4))):
            cut = self.rng.randint(1, len(one.text) - 1)
            split = self.rng.random() < 0.125
            texts.append([one.text[:cut], one.text[cut:]] if split else [one.text])
        return texts

    def _prompt(self) -> ChatPrompt:
        """The texts where an agent has them: turns, system, results and arguments of tools."""
        system: list[ChatMessage] = []
        messages: list[ChatMessage] = []
        for pieces in self._pieces():
            place = self.rng.random()
            if place < 0.08:
                messages += _called_with("".join(pieces))
                continue
            for text in pieces:
                if place < 0.16:
                    system.append(ChatMessage(role="system", content=text))
                else:
                    role = "assistant" if place < 0.24 else "user"
                    messages.append(ChatMessage(role=role, content=text))
        messages.append(ChatMessage(role="user", content="And?"))
        tools = (Tool(name="look", description=self._one(None).text),)
        return ChatPrompt(
            messages=(*system, *messages), tools=tools if self.rng.random() < 0.05 else ()
        )


def _called_with(text: str) -> list[ChatMessage]:
    arguments = msgspec.json.encode({"note": text}).decode()
    call = ToolCall(id="c1", name="look", arguments=arguments)
    return [
        ChatMessage(role="assistant", tool_calls=(call,)),
        ChatMessage(role="tool", content="done", tool_call_id="c1"),
    ]


class Found(msgspec.Struct):
    """What a run came to."""

    requests: int
    bodies: int
    bytes: int
    leaked: int
    first: bytes
    unrestored: int
    sound: bool
    recorded: int
    seconds: float
    told: dict[str, int]


async def fuzz(count: int, seed: int, folder: Path, *, at_once: int = 32) -> Found:
    """At least so many requests from a seed; `folder` is empty."""
    (folder / "policy.toml").write_text(RULES, encoding="utf-8")
    rng, pool, faults = random.Random(seed), pool_of(seed + 1), Counter[str]()
    watch, egress = Watch(pool), EgressLog(folder / "egress")
    memory = Memory(MemoryFile(folder / "labels.jsonl"))
    gate = Gate(RulesFile(folder / "policy.toml"), egress, memory)
    workers, records = workers_of(
        gate, folder, lambda _, one: Recorder(one.kind, rng, watch.saw, faults)
    )
    scheduler = Scheduler(
        (HERE,), lambda _: (Here(rng), 1), SchedulerSettings(), version="0", load_wait_seconds=5
    )
    router = Router(scheduler, workers, gate, ROUTES)
    asker = Asker(rng, pool, router)
    began = time.perf_counter()
    while asker.told["requests"] < count:
        await asyncio.gather(*(asker.some() for _ in range(at_once)))
        for name in PROVIDERS:  # A rest would keep most of the others from being asked.
            records.record(f"{name}/m").health = Health()
    seconds = time.perf_counter() - began
    egress.close()
    memory.close()
    sent = sum(one.kind == "sent" for one in read_records(folder / "egress"))
    unrestored = asker.told.pop("placeholders that were not restored", 0)
    return Found(
        requests=asker.told.pop("requests"),
        bodies=watch.bodies,
        bytes=watch.bytes,
        leaked=watch.leaked,
        first=watch.first,
        unrestored=unrestored,
        sound=verify(folder / "egress").sound,
        recorded=sent,
        seconds=seconds,
        told=dict(asker.told + faults),
    )
