"""Streams, the fault that each meets, and what its client may then see."""

import random
from dataclasses import dataclass
from typing import Literal

from tests.fakes.fault_proxy import Fault

from benchmarks.prompts import Prompts
from benchmarks.speaker import text_for

Voice = Literal["speaker", "node"]
CUTS = ("stall", "stall-pings", "reset", "close", "garbage")
"""Faults in the middle."""
STATUSES = (401, 403, 404, 408, 429, 500, 502, 503, 504, 529)
ERRORS = frozenset({
    "provider_unreachable", "provider_stalled", "provider_stream_broken", "provider_malformed",
    "provider_failed", "provider_error",
})  # fmt: skip
"""With which a broken stream that nobody can continue may end."""


@dataclass(frozen=True)
class Case:
    """One stream."""

    number: int
    voice: Voice
    kind: str
    """Of the provider that fails."""
    fault: Fault
    killed: bool
    """Its server is killed in the middle, in the place of a fault."""
    continues: bool
    """Somebody can go on in the middle."""

    @property
    def name(self) -> str:
        """The model that its client asks for."""
        return f"s{self.number}"

    @property
    def tag(self) -> str:
        """With which its question begins."""
        return f"[{self.number}]"

    @property
    def question(self) -> str:
        """What its client asks."""
        return f"{self.tag} {Prompts('failover', self.number).words(8)}?"

    @property
    def expected(self) -> str:
        """What a speaker answers."""
        return text_for(self.question)

    @property
    def label(self) -> str:
        """For tables."""
        return "killed" if self.killed else self.fault.kind


def cases(voice: Voice, count: int, *, first: int, seed: int) -> list[Case]:
    """`count` streams with a random fault each."""
    chance = random.Random(f"{seed} {voice}")
    return [_case(voice, first + n, chance) for n in range(count)]


def _case(voice: Voice, number: int, chance: random.Random) -> Case:
    kinds = ("vllm", "llama-server", "deepseek") if voice == "speaker" else ("ai-assistant",)
    killed = voice == "speaker" and chance.random() < 0.04
    return Case(
        number=number,
        voice=voice,
        kind=chance.choice(kinds),
        fault=Fault() if killed else _fault(voice, chance),
        killed=killed,
        continues=chance.random() < 0.8,
    )


def _fault(voice: Voice, chance: random.Random) -> Fault:
    draw = chance.random()
    if draw < 0.5:
        after = chance.randint(0, 25 if voice == "speaker" else 8)
        return Fault(chance.choice(CUTS), after=after)  # type: ignore[arg-type]
    if draw < 0.7:
        status = chance.choice(STATUSES)
        headers = {"retry-after": "1"} if status in (429, 503) else {}
        body = b'{"error": {"message": "no", "type": "fault"}}'
        return Fault("status", status=status, headers=headers, body=body)
    if draw < 0.8:
        return Fault(chance.choice(("silent", "pings", "refuse")))  # type: ignore[arg-type]
    if draw < 0.9:
        return Fault("late", seconds=chance.uniform(0.02, 0.2))
    return Fault("slow", size=chance.randint(3, 40), seconds=0.0003)
