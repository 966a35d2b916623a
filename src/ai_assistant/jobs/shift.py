"""One go at one batch: lines out, results in, with pauses, until it is done or must stop."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Any, Literal, Protocol

import msgspec
from msgspec import structs

from ai_assistant.jobs.books import Books
from ai_assistant.jobs.lines import BadLine, Line, Request, read_lines, read_request
from ai_assistant.jobs.pace import Pace
from ai_assistant.jobs.places import Places
from ai_assistant.jobs.ports import SPILLED, Call, Ports
from ai_assistant.jobs.record import Record
from ai_assistant.jobs.results import Answered, answered, unanswered
from ai_assistant.jobs.shelf import Shelf
from ai_assistant.jobs.states import Batch, Outcome, Problem
from ai_assistant.jobs.windows import read_window
from ai_assistant.protocol.errors import (
    AssistantError,
    EngineError,
    ProviderUnreachable,
    RateLimited,
    Unavailable,
)
from ai_assistant.protocol.requests import GenerateRequest

_log = logging.getLogger(__name__)

_TRIES = 3
"""Of a line on which the engine fails: it may be the line that kills it."""
_SHORTEST_WAIT, _LONGEST_WAIT = 1.0, 60.0
_SHORTEST_LOOK = 60.0
_NETWORK_SECONDS = 5.0
_DISK_SECONDS = 1.0

Reason = Literal["window", "network", "disk", "model", "limit"]


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """Why a batch waits."""

    reason: Reason
    message: str
    until: int | None = None
    """Seconds since 1970, where that is known."""


class _Barred(Exception):
    """Whoever sent it may ask nothing any more."""


class House(Protocol):
    """What a shift works with."""

    books: Books
    shelf: Shelf
    ports: Ports
    places: Places
    suspects: asyncio.Lock
    """Held by the one line that is tried again after an engine died."""
    window: str
    """The owner's hours; a batch may have its own."""


class Shift:
    """`run` it once. `cancel` may be called at any time, in the same loop."""

    def __init__(self, house: House, batch: Batch) -> None:
        self._house = house
        self._ports = house.ports
        self._batch = batch
        self._window = read_window(batch.window or house.window)
        self._cancelled = asyncio.Event()
        self._record = Record(house.books, batch.id, self.cancel)
        self._pace = Pace()
        self._under_way: set[asyncio.Task[None]] = set()
        self._hold: Hold | None = None
        self._wanted: str | None = None
        """The model in whose queue the next line stands."""

    @property
    def tenant(self) -> str:
        """Whose batch it is."""
        return self._batch.tenant

    @property
    def hold(self) -> Hold | None:
        """Why nothing happens now."""
        if (trouble := self._record.trouble) is not None:
            return Hold(reason="disk", message=trouble.message)
        if self._wanted is not None and not self._ports.desk.room(self._wanted):
            return Hold(reason="model", message=f"{self._wanted} makes room for others.")
        return self._hold

    def cancel(self) -> None:
        """End at once; what is done stays."""
        self._cancelled.set()

    async def run(self) -> Outcome:
        """Every line gets its result, or the batch expires, is cancelled, or its key is gone."""
        work = asyncio.create_task(self._work())
        cancelled = asyncio.create_task(self._cancelled.wait())
        expired = asyncio.create_task(self._ports.clock.sleep_until(self._batch.expires_at))
        writing = asyncio.create_task(self._record.keep_writing())
        ends = {work, cancelled, expired, writing}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()  # By a mistake of ours: without it nothing would ever be settled.
            if work.done():
                return await self._ended(work)
            return "cancelled" if cancelled.done() else "expired"
        finally:
            await _end([work, cancelled, expired, *self._under_way])
            await _end([writing])
            await self._record.last_try()

    async def _ended(self, work: asyncio.Task[None]) -> Outcome:
        try:
            work.result()
        except _Barred as barred:
            problem = Problem(code="key_not_valid", message=f"{barred} The batch has stopped.")
            await asyncio.to_thread(
                self._house.books.change,
                self._batch.id,
                lambda batch: structs.replace(batch, errors=(problem,)),
            )
            return "failed"
        return "completed"

    async def _work(self) -> None:
        done = await asyncio.to_thread(self._house.books.done_lines, self._batch.id)
        self._pace.begin(self._ports.clock.now(), self._batch.counts.total - len(done))
        for line in self._lines(done):
            await self._send(line)
        while self._under_way:
            await asyncio.wait(self._under_way)
        await self._record.settled()

    def _lines(self, done: set[int]) -> Iterator[Line]:
        path = self._house.shelf.path(self._batch.input_file)
        return (line for line in read_lines(path) if line.number not in done)

    async def _send(self, line: Line) -> None:
        """Begin with a line as soon as it may begin."""
        try:
            request = read_request(line.raw, self._batch.endpoint)
        except BadLine as bad:  # `check` has seen to them, unless it was cut short.
            self._record.put(refused(self._batch.id, line.number, bad))
            return
        model = self._ports.desk.model_of(request.model, self._batch.owner)
        while True:
            spill = await self._may_begin(self._call(line.number, request), model)
            queue = model + SPILLED if spill else model
            self._wanted = queue
            await self._house.places.take(queue)
            self._wanted = None
            barred = self._ports.desk.barred(self._batch.owner)
            if not barred and (spill or self._window.is_open(self._ports.clock.now())):
                break
            self._house.places.give(queue)  # It ended while we stood in the queue.
        self._start(line.number, request, queue)

    def _start(self, number: int, request: Request, queue: str) -> None:
        """A task that is cancelled before its first step would never give its place back."""
        begun = asyncio.Event()

        def through(task: asyncio.Task[None]) -> None:
            self._under_way.discard(task)
            if not begun.is_set():
                self._house.places.give(queue)

        task = asyncio.create_task(self._attend(number, request, queue, begun))
        self._under_way.add(task)
        task.add_done_callback(through)

    # When to wait.

    async def _may_begin(self, call: Call, model: str) -> bool:
        """Return when a line may begin; the value says whether it may go to a cloud."""
        ports = self._ports
        while True:
            if why := ports.desk.barred(self._batch.owner):
                raise _Barred(why)
            now = ports.clock.now()
            line = ports.desk.outline(call, model)
            spill = self._may_spill(now, line) and await ports.network.online()
            if self._record.trouble is not None:
                await asyncio.sleep(_DISK_SECONDS)
            elif not spill and not self._window.is_open(now):
                await self._await_window(now)
            elif not await self._is_reached(line):
                self._hold = _offline(model)
                await ports.clock.sleep_until(now + _NETWORK_SECONDS)
            elif (limited := ports.desk.limited(self._batch.owner)) is not None:
                await self._wait_out(limited, 1)
            else:
                self._hold = None
                return spill

    async def _await_window(self, now: float) -> None:
        opening = self._window.next_change(now)
        until = self._batch.expires_at if opening is None else opening
        message = f"It goes on in its hours, {self._batch.window or self._house.window}."
        self._hold = Hold(reason="window", message=message, until=int(until))
        # Before the window opens it may become late enough for a cloud.
        look = max(_SHORTEST_LOOK, (self._batch.expires_at - now) / 20)
        await self._ports.clock.sleep_until(min(until, now + look))

    async def _is_reached(self, line: GenerateRequest) -> bool:
        """Whether one of the servers that may have it can be, or none is needed."""
        addresses = self._ports.rules.needs_network(line)
        for address in addresses:
            if await self._ports.network.online(address):
                return True
        return not addresses

    def _may_spill(self, now: float, line: GenerateRequest) -> bool:
        allowed = self._batch.spill and self._ports.rules.may_spill(line)
        return allowed and self._is_late(now)

    def _is_late(self, now: float) -> bool:
        return self._pace.is_late(now, self._batch.expires_at)

    # One line.

    async def _attend(
        self, number: int, request: Request, queue: str, begun: asyncio.Event
    ) -> None:
        begun.set()
        spill = queue.endswith(SPILLED)
        while True:
            try:
                answer = await self._answer(number, request, spill)
                break
            except RateLimited as error:
                limited = error
            finally:
                self._house.places.give(queue)
            # Others may go on in its place: it is the owner who has had enough.
            await self._wait_out(limited, 1)
            await self._house.places.take(queue)
        self._pace.note(self._ports.clock.now())
        self._record.put(answered(self._batch.id, number, request.custom_id, answer))

    async def _answer(self, number: int, request: Request, spill: bool) -> Answered:
        call = self._call(number, request, spill)
        failures = 0
        while True:
            try:
                # What was there when an engine died may have killed it: from now on one at a
                # time, so that it takes no other line along.
                async with self._house.suspects if failures else contextlib.nullcontext():
                    return await self._ports.desk.answer(call)
            except EngineError as error:
                failures += 1
                if failures == _TRIES:
                    return self._ports.desk.failure(error, call.request_id)
                await self._wait_out(error, failures)
            except RateLimited:
                raise
            except Unavailable as error:
                await self._wait_out(error, 1)
            except AssistantError as error:
                return self._ports.desk.failure(error, call.request_id)

    def _call(self, number: int, request: Request, spill: bool = False) -> Call:
        return Call(
            endpoint=self._batch.endpoint,
            body=request.body,
            owner=self._batch.owner,
            request_id=f"{self._batch.id}-{number}",
            batch=self._batch.id,
            labels=self._batch.labels,
            spill=spill,
        )

    async def _wait_out(self, error: AssistantError, failures: int) -> None:
        """It is not the line's fault: try again later, as long as the batch has time."""
        wait = error.retry_after or _SHORTEST_WAIT * 5 ** (failures - 1)
        reason: Reason = "model"
        if isinstance(error, ProviderUnreachable | RateLimited):
            reason = "network" if isinstance(error, ProviderUnreachable) else "limit"
        now = self._ports.clock.now()
        until = now + min(max(wait, _SHORTEST_WAIT), _LONGEST_WAIT)
        self._hold = Hold(reason=reason, message=error.message, until=int(until))
        await self._ports.clock.sleep_until(until)
        self._hold = None


def refused(batch: str, number: int, bad: BadLine) -> Any:
    """The result of a line that cannot be asked."""
    return unanswered(batch, number, bad.custom_id, bad.code, bad.message)


def _offline(model: str) -> Hold:
    return Hold(reason="network", message=f"{model} is reached over the network, which is down.")


async def _end(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task
