"""The stages over real tables and files, with a desk and a clock that a test controls."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from tests.fakes.fake_desk import FakeDesk
from tests.fakes.hand_clock import HandClock

from ai_assistant.jobs.books import Books
from ai_assistant.jobs.database import Database
from ai_assistant.jobs.entries import StoredFile
from ai_assistant.jobs.places import Places
from ai_assistant.jobs.ports import HomeRules, Network, Ports, Rules
from ai_assistant.jobs.shelf import Shelf, new_file_id
from ai_assistant.jobs.stages import Stages
from ai_assistant.jobs.states import Batch, Outcome, become

CHAT = "/v1/chat/completions"
DAY = 86_400


def line(name: str, **changes: Any) -> str:
    """A good line, or one with something else in it."""
    body = {"model": "m", "messages": [{"role": "user", "content": name}]}
    return json.dumps({"custom_id": name, "method": "POST", "url": CHAT, "body": body, **changes})


def many(count: int) -> list[str]:
    return [line(f"r{i}") for i in range(count)]


class AlwaysOnline:
    """Implements `jobs.ports.Network`."""

    def __init__(self) -> None:
        self.up = True

    async def online(self, address: str | None = None) -> bool:
        return self.up

    def has_route(self) -> bool:
        return self.up

    def note(self, address: str, reached: bool) -> None:
        self.up = reached


class House:
    """One node's jobs without the node."""

    def __init__(
        self,
        folder: Path,
        desk: FakeDesk | None = None,
        *,
        rules: Rules | None = None,
        network: Network | None = None,
        window: str = "",
    ) -> None:
        self.desk = desk or FakeDesk()
        self.clock = HandClock()
        self.database = Database(folder)
        self.books = Books(self.database)
        self.shelf = Shelf(folder / "files")
        ports = Ports(self.desk, self.clock, network or AlwaysOnline(), rules or HomeRules())
        self.stages = Stages(
            self.books,
            self.shelf,
            ports,
            places=Places(self.desk.room),
            window=window,
            keep_seconds=DAY,
        )
        self._count = 0

    def add(self, lines: Sequence[str] | bytes, *, tenant: str = "", **changes: Any) -> str:
        """A batch that is to be checked; its id."""
        data = lines if isinstance(lines, bytes) else "\n".join(lines).encode() + b"\n"
        with self.shelf.begin(new_file_id()) as scratch:
            scratch.write(data)
            scratch.keep()
        now = int(self.clock.now())
        self.books.add_file(
            StoredFile(
                id=scratch.name, tenant=tenant, purpose="batch", filename="in.jsonl",
                bytes=len(data), created_at=now,
            )
        )  # fmt: skip
        self._count += 1
        batch = Batch(
            id=f"batch_{self._count}", tenant=tenant, owner="{}", endpoint=CHAT,
            input_file=scratch.name, completion_window="24h", created_at=now,
            expires_at=now + DAY,
        )  # fmt: skip
        for key, value in changes.items():
            batch = _with(batch, key, value)
        self.books.add_batch(batch)
        return batch.id

    async def run(self, name: str) -> Outcome:
        """All three stages, as the queue runs them."""
        await self.stages.check(name)
        outcome = await self.stages.work(name)
        await self.stages.finish(name, outcome)
        return outcome

    @contextlib.asynccontextmanager
    async def running(self, name: str) -> AsyncIterator["asyncio.Task[Outcome]"]:
        """The same in the background."""
        task = asyncio.create_task(self.run(name))
        try:
            yield task
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def cancel(self, name: str) -> None:
        """As the API does it."""
        self.books.change(name, lambda b: become(b, "cancelling", self.clock.now()))
        self.stages.cancel(name)

    def output(self, name: str) -> list[Any]:
        return self._entries(self.books.batch(name).output_file)

    def errors(self, name: str) -> list[Any]:
        return self._entries(self.books.batch(name).error_file)

    def _entries(self, file: str | None) -> list[Any]:
        if file is None:
            return []
        return [json.loads(text) for text in self.shelf.path(file).read_text().splitlines()]


def _with(batch: Batch, key: str, value: Any) -> Batch:
    from msgspec import structs

    return structs.replace(batch, **{key: value})


def names(entries: Sequence[Any]) -> list[Any]:
    return [entry["custom_id"] for entry in entries]
