"""Jobs as the gateway sees them: files and batches of a tenant, opened when first asked for."""

import asyncio
import secrets
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import structs

from ai_assistant.jobs.entries import Page, StoredFile
from ai_assistant.jobs.errors import StorageFull
from ai_assistant.jobs.network import HostNetwork
from ai_assistant.jobs.place import has_open_batches
from ai_assistant.jobs.ports import Clock, Desk, HomeRules, Network, Ports, Rules, SystemClock
from ai_assistant.jobs.queue import Queue
from ai_assistant.jobs.settings import JobsSettings
from ai_assistant.jobs.states import Batch, become, may_become
from ai_assistant.jobs.windows import read_span, read_window
from ai_assistant.protocol.errors import InvalidRequest, ShuttingDown
from ai_assistant.protocol.status import JobsStatus

if TYPE_CHECKING:
    from ai_assistant.jobs.room import Room
    from ai_assistant.jobs.shelf import Scratch

_DAY = 86_400
_SHOWN = 5
_IDLE_SECONDS = 60.0
"""After so long without an open batch the queue's threads end."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that somebody wants."""

    tenant: str
    owner: str
    endpoint: str
    input_file: str
    completion_window: str
    window: str = ""
    metadata: dict[str, str] | None = None
    labels: tuple[str, ...] = ()
    spill: bool | None = None
    """None: as the owner of the node set it."""
    output_seconds: int | None = None


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a batch is doing now, beside its counts."""

    state: str
    """`queued`, `working`, `waiting` or `ended`."""
    reason: str | None = None
    """Of waiting: `window`, `network`, `disk`, `model` or `limit`."""
    message: str | None = None
    until: int | None = None
    online: bool | None = None
    """Whether this machine has a way out; told of batches that are not ended."""


class Jobs:
    """Of one node. `resume` it when the node has started, `stop` it first when it stops."""

    def __init__(
        self,
        folder: Path,
        settings: JobsSettings,
        desk: Desk,
        *,
        clock: Clock | None = None,
        network: Network | None = None,
        rules: Rules | None = None,
        idle_seconds: float = _IDLE_SECONDS,
    ) -> None:
        """Nothing is opened yet. Raises `InvalidRequest` for hours that are none."""
        read_window(settings.window)
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self._network: Network = network or HostNetwork()
        self._folder = folder
        self._ports = Ports(
            desk=desk, clock=self.clock, network=self._network, rules=rules or HomeRules()
        )
        self._queue = Queue(folder, self._opened, idle_seconds=idle_seconds)
        self._opening = asyncio.Lock()
        self._room: Room | None = None
        self._stopped = False

    # The node's part.

    async def resume(self) -> None:
        """Go on with what a former node left unfinished; returns at once."""
        if self.settings.database or await asyncio.to_thread(has_open_batches, self._folder):
            self._queue.run_all()

    async def stop(self) -> None:
        """End what runs; all of it goes on at the next start."""
        self._stopped = True
        await self._queue.stop()
        async with self._opening:
            if self._room is not None:
                await self._room.stages.quiet()
                await asyncio.to_thread(self._room.close)
                self._room = None

    # Files.

    async def new_file(self, size: int | None) -> "Scratch":
        """A place to write an upload to; `size` is what the client says. Raises `StorageFull`."""
        room = await self._opened()
        await asyncio.to_thread(self._check_room, room, size or 0)
        from ai_assistant.jobs.shelf import new_file_id

        return await asyncio.to_thread(room.shelf.begin, new_file_id())

    async def add_file(self, file: StoredFile) -> None:
        """Enter an upload that was kept."""
        room = await self._opened()
        await asyncio.to_thread(room.books.add_file, file)

    async def file(self, tenant: str, name: str) -> StoredFile:
        """Raises `NotFound`."""
        room = await self._opened()
        return await asyncio.to_thread(room.books.file, tenant, name)

    async def content(self, tenant: str, name: str) -> Path:
        """Where the content of a file lies; raises `NotFound`."""
        await self.file(tenant, name)
        return (await self._opened()).shelf.path(name)

    async def files(self, tenant: str, page: Page, purpose: str | None) -> list[StoredFile]:
        """One more than the page's limit if there are more."""
        room = await self._opened()
        return await asyncio.to_thread(room.books.files, tenant, page, purpose)

    async def delete_file(self, tenant: str, name: str) -> None:
        """Raises `NotFound` and `FileInUse`."""
        room = await self._opened()
        await asyncio.to_thread(room.books.drop_file, tenant, name)
        await asyncio.to_thread(room.shelf.drop, name)

    # Batches.

    async def submit(self, order: Order) -> Batch:
        """Accept a batch; it is on the disk when this returns."""
        self._new_batch(order)  # What is wrong with it is said before anything is looked for.
        room = await self._opened()
        file = await asyncio.to_thread(room.books.file, order.tenant, order.input_file)
        if file.purpose != "batch":
            raise InvalidRequest(
                f"The file {file.id} was not uploaded with the purpose batch.",
                param="input_file_id",
            )
        labels = tuple(dict.fromkeys((*file.labelled, *order.labels)))
        batch = self._new_batch(structs.replace(order, labels=labels))
        await asyncio.to_thread(room.books.add_batch, batch)
        self._queue.run(batch.id)
        return batch

    async def defer(self, order: Order, body: bytes) -> Batch:
        """Store one request and send it when it can be: a batch of one line, without a file."""
        line = {"custom_id": "request", "method": "POST", "url": order.endpoint}
        text = msgspec.json.encode({**line, "body": msgspec.Raw(body)})
        scratch = await self.new_file(len(text))
        now = int(self.clock.now())
        file = StoredFile(
            id=scratch.name, tenant=order.tenant, purpose="batch", filename="request.jsonl",
            bytes=len(text), created_at=now, expires_at=self.expiry(now),
            labels=",".join(order.labels),
        )  # fmt: skip
        await asyncio.to_thread(_write_whole, scratch, text)
        await self.add_file(file)
        return await self.submit(structs.replace(order, input_file=file.id))

    async def batch(self, tenant: str, name: str) -> Batch:
        """Raises `NotFound`."""
        room = await self._opened()
        return await asyncio.to_thread(room.books.batch, name, tenant)

    async def batches(self, tenant: str, page: Page) -> list[Batch]:
        """One more than the page's limit if there are more."""
        room = await self._opened()
        return await asyncio.to_thread(room.books.batches, tenant, page)

    async def cancel(self, tenant: str, name: str) -> Batch:
        """Stop a batch; what is done is kept. Raises `InvalidRequest` if it has ended."""
        room = await self._opened()
        await asyncio.to_thread(room.books.batch, name, tenant)

        def step(batch: Batch) -> Batch:
            if batch.status == "cancelling":
                return batch
            if not may_become(batch, "cancelling"):
                raise InvalidRequest(f"A batch that is {batch.status} cannot be cancelled.")
            return become(batch, "cancelling", self.clock.now())

        batch = await asyncio.to_thread(room.books.change, name, step)
        room.stages.cancel(name)
        self._queue.run(name)
        return batch

    async def progress(self, batch: Batch) -> Progress:
        """What it is doing now."""
        if batch.final:
            return Progress(state="ended")
        online = await self._network.online()
        stages = self._room.stages if self._room else None
        if stages is not None and (hold := stages.hold(batch.id)) is not None:
            return Progress(
                state="waiting",
                reason=hold.reason,
                message=hold.message,
                until=hold.until,
                online=online,
            )
        working = stages is not None and stages.is_working(batch.id)
        return Progress(state="working" if working else "queued", online=online)

    def status(self, tenant: str | None = None) -> JobsStatus:
        """All batches that are not finished, as they are now; opens nothing.

        What they wait for is told in words of the tenant's own only: it may name who has them.
        """
        holds = self._room.stages.holds() if self._room else []
        waiting = [hold for _, hold in holds if hold is not None]
        own = [hold for owner, hold in holds if hold is not None and owner in (tenant, None)]
        return JobsStatus(
            working=len(holds) - len(waiting),
            waiting=dict(Counter(hold.reason for hold in waiting)),
            messages=tuple(dict.fromkeys(hold.message for hold in own))[:_SHOWN],
            online=self._network.has_route(),
        )

    def expiry(self, created_at: int) -> int | None:
        """When a batch's file of that age is deleted."""
        days = self.settings.keep_days
        return int(created_at + days * _DAY) if days else None

    def _new_batch(self, order: Order) -> Batch:
        read_window(order.window)
        seconds = read_span(order.completion_window, "completion_window")
        now = int(self.clock.now())
        return Batch(
            id=f"batch_{secrets.token_hex(12)}",
            tenant=order.tenant,
            owner=order.owner,
            endpoint=order.endpoint,
            input_file=order.input_file,
            completion_window=order.completion_window,
            window=order.window,
            metadata=order.metadata,
            labels=order.labels,
            spill=self.settings.spill if order.spill is None else order.spill,
            output_seconds=order.output_seconds,
            created_at=now,
            expires_at=now + seconds,
        )

    def _check_room(self, room: "Room", size: int) -> None:
        """Also lets go of files whose time is over."""
        room.sweep(self.clock.now())
        allowed = int(self.settings.disk_gb * 1e9)
        if sum(room.books.known_files().values()) + size > allowed:
            raise StorageFull(
                f"Files may take {self.settings.disk_gb:g} GB here (jobs.disk_gb): delete some."
            )

    async def _opened(self) -> "Room":
        if self._stopped:
            raise ShuttingDown("The node is shutting down; ask again when it is back.")
        if self._room is None:
            async with self._opening:
                if self._room is None:
                    self._room = await asyncio.to_thread(self._open)
        return self._room

    def _open(self) -> "Room":
        from ai_assistant.jobs.room import Room

        return Room(self._folder, self.settings, self._ports)


def _write_whole(scratch: "Scratch", text: bytes) -> None:
    with scratch:
        scratch.write(text)
        scratch.keep()
