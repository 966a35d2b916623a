"""Workers for the tests, and what they say."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.protocol.egress import Departure, Outcome
from ai_assistant.protocol.requests import ChatMessage, ChatPrompt, GenerateRequest
from ai_assistant.workers.providers.fleet import Fleet
from ai_assistant.workers.providers.provider import Provider, ProviderModel
from ai_assistant.workers.providers.records_file import RecordsFile
from ai_assistant.workers.remote.deadlines import Deadlines
from ai_assistant.workers.remote.worker import RemoteWorker

QUICK = Deadlines(connect=1.0, first_token=0.5, between_tokens=0.3)
KEY = "sk-very-secret-0123456789"


@dataclass
class OpenGate:
    """Lets everything out and remembers it."""

    departures: list[Departure] = field(default_factory=list[Departure])
    ends: list[tuple[Outcome, int, int, str]] = field(
        default_factory=list[tuple[Outcome, int, int, str]]
    )

    async def let_out(self, departure: Departure) -> None:
        self.departures.append(departure)

    def came_back(
        self, departure: Departure, outcome: Outcome, *, status: int = 0, received: int = 0,
        error: str = "",
    ) -> None:  # fmt: skip
        assert departure in self.departures
        self.ends.append((outcome, status, received, error))


@contextlib.asynccontextmanager
async def worker_at(
    url: str,
    kind: str = "openai-compatible",
    *,
    model: dict[str, Any] | None = None,
    gate: Any = None,
    **settings: Any,
) -> AsyncIterator[RemoteWorker]:
    """The worker of the model `m` at a server, with a key."""
    one = ProviderModel(**{"id": "m", "names": ("m",), **(model or {})})
    settings = {"key": "env:KEY", "deadlines": QUICK, "models": (one,), **settings}
    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(
            {"there": Provider(kind=kind, base_url=url, **settings)},
            environ={"KEY": KEY},
            folder=Path(folder),
            gate=gate or OpenGate(),
            records=RecordsFile(Path(folder, "seen.json")),
        )
        assert not fleet.problems, fleet.problems
        try:
            yield fleet.workers[0]
        finally:
            await asyncio.wait_for(fleet.close(), 5)


def chat(text: str = "Hi", *, model: str = "m", **fields: Any) -> GenerateRequest:
    """A chat of one question."""
    prompt = ChatPrompt(
        messages=(ChatMessage(role="user", content=text),), **fields.pop("prompt", {})
    )
    return GenerateRequest(request_id="r1", model=model, prompt=prompt, **fields)


async def collect(worker: RemoteWorker, request: GenerateRequest) -> list[TokenChunk]:
    """Every piece."""
    return [chunk async for chunk in worker.generate(request)]


def text_of(chunks: list[TokenChunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


def reasoning_of(chunks: list[TokenChunk]) -> str:
    return "".join(chunk.reasoning for chunk in chunks)


def calls_of(chunks: list[TokenChunk]) -> list[tuple[str, str, str]]:
    """Id, name and arguments of every call, put together."""
    found: dict[int, list[str]] = {}
    for delta in (delta for chunk in chunks for delta in chunk.tool_calls):
        call = found.setdefault(delta.index, ["", "", ""])
        call[0] = delta.id or call[0]
        call[1] = delta.name or call[1]
        call[2] += delta.arguments
    return [(call[0], call[1], call[2]) for _, call in sorted(found.items())]
