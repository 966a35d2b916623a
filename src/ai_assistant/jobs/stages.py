"""The three stages of a batch. Each may be cut off at any moment and be begun again."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import structs

from ai_assistant.jobs.books import Books
from ai_assistant.jobs.entries import StoredFile
from ai_assistant.jobs.errors import JobsUnavailable
from ai_assistant.jobs.lines import MAX_LINES, BadLine, Line, read_lines, read_request
from ai_assistant.jobs.places import Places
from ai_assistant.jobs.ports import Ports
from ai_assistant.jobs.results import CANCELLED, EXPIRED, FAILED, Result, unanswered
from ai_assistant.jobs.shelf import Scratch, Shelf, derived_file_id
from ai_assistant.jobs.shift import Hold, Shift, refused
from ai_assistant.jobs.states import Batch, Counts, Outcome, Problem, become, may_become

_log = logging.getLogger(__name__)

_PORTION = 500
_LEFT_OVER = {"expired": EXPIRED, "cancelled": CANCELLED, "failed": FAILED}


class Stages:
    """Check, work, finish: on the node's loop, several batches at once."""

    def __init__(
        self,
        books: Books,
        shelf: Shelf,
        ports: Ports,
        *,
        places: Places,
        window: str,
        keep_seconds: int | None,
    ) -> None:
        self.books = books
        self.shelf = shelf
        self.ports = ports
        self.places = places
        self.suspects = asyncio.Lock()
        self.window = window
        self._keep_seconds = keep_seconds
        self._shifts: dict[str, Shift] = {}
        self._troubles: dict[str, Hold] = {}
        self._quiet = asyncio.Event()
        self._quiet.set()

    def hold(self, name: str) -> Hold | None:
        """Why that batch waits, if it does."""
        shift = self._shifts.get(name)
        return shift.hold if shift else self._troubles.get(name)

    def holds(self) -> list[tuple[str | None, Hold | None]]:
        """Of every batch that is being worked on, or cannot be, whose it is and why it waits.

        None: the trouble is the node's own.
        """
        shifts = [(shift.tenant, shift.hold) for shift in self._shifts.values()]
        troubles = [hold for name, hold in self._troubles.items() if name not in self._shifts]
        return [*shifts, *((None, hold) for hold in troubles)]

    def is_working(self, name: str) -> bool:
        """Whether its lines are being worked on, or wait for their time."""
        return name in self._shifts

    async def quiet(self) -> None:
        """Return when nothing is being worked on."""
        await self._quiet.wait()

    def cancel(self, name: str) -> None:
        """The batch is `cancelling`: stop its lines now."""
        if shift := self._shifts.get(name):
            shift.cancel()

    async def check(self, name: str) -> None:
        """Count the lines; those that cannot be asked have their result at once."""
        await self._in_thread(self._check, name)

    async def work(self, name: str) -> Outcome:
        """Every line that can be asked is asked; gives how it ended."""
        batch = await asyncio.to_thread(self.books.batch, name)
        if batch.status == "failed":
            return "failed"
        if batch.status == "cancelling":
            return "cancelled"
        shift = self._shifts[name] = Shift(self, batch)
        self._quiet.clear()
        try:
            # A cancel that came before this line was told to nobody.
            if (await asyncio.to_thread(self.books.batch, name)).status == "cancelling":
                return "cancelled"
            return await shift.run()
        finally:
            del self._shifts[name]
            if not self._shifts:
                self._quiet.set()

    async def finish(self, name: str, outcome: Outcome) -> None:
        """Write the output and error files and close the batch."""
        await self._in_thread(self._finish, name, outcome)

    async def _in_thread(self, stage: Callable[..., None], name: str, *rest: Any) -> None:
        try:
            await asyncio.to_thread(stage, name, *rest)
            self._troubles.pop(name, None)
        except JobsUnavailable as trouble:
            self._troubles[name] = Hold(reason="disk", message=trouble.message)
            raise

    # These block.

    def _check(self, name: str) -> None:
        batch = self.books.batch(name)
        if batch.status != "validating":
            return
        if not self._has_input(batch):
            self._fail(name, "The input file is gone.", "input_file_missing")
            return
        total, seen, bad = 0, set[str](), list[Result]()
        for line in self._input(batch):
            total += 1
            if total > MAX_LINES:
                self._fail(name, f"The file has more than {MAX_LINES} lines.", "too_many_requests")
                return
            try:
                _check_line(line, batch.endpoint, seen)
            except BadLine as problem:
                bad.append(refused(name, line.number, problem))
            if len(bad) >= _PORTION:
                self.books.add_results(name, bad)
                bad.clear()
        if not total:
            self._fail(name, "The file holds no request.", "empty_file")
            return
        self.books.add_results(name, bad)
        self._advance(name, "in_progress", lambda b: {"counts": _with_total(b.counts, total)})

    def _fail(self, name: str, message: str, code: str) -> None:
        problem = Problem(code=code, message=message)

        def step(batch: Batch) -> Batch:
            return become(batch, "failed", self.ports.clock.now(), errors=(problem,))

        self.books.finish(name, [], step)

    def _advance(
        self, name: str, status: Any, changes: Callable[[Batch], dict[str, Any]] = lambda _: {}
    ) -> Batch:
        """To that status, where the batch was not cancelled meanwhile."""

        def step(batch: Batch) -> Batch:
            if not may_become(batch, status):
                return structs.replace(batch, **changes(batch))
            return become(batch, status, self.ports.clock.now(), **changes(batch))

        return self.books.change(name, step)

    def _finish(self, name: str, outcome: Outcome) -> None:
        batch = self.books.batch(name)
        if batch.final:
            return
        if outcome == "completed":
            batch = self._advance(name, "finalizing")
            # Cancelled after its last line: everything is done, and it is called cancelled.
            outcome = "cancelled" if batch.status == "cancelling" else "completed"
        counts = batch.counts
        if outcome == "expired" and counts.completed + counts.failed == counts.total:
            outcome = "completed"  # The time ran out after the last line.
            batch = self._advance(name, "finalizing")
        files = self._write_files(batch, outcome)
        by_kind = {kind: file.id for kind, file in files.items()}

        def step(batch: Batch) -> Batch:
            end = "cancelled" if batch.status == "cancelling" and outcome != "failed" else outcome
            return become(
                batch,
                end,
                self.ports.clock.now(),
                output_file=by_kind.get("output"),
                error_file=by_kind.get("error"),
                counts=structs.replace(
                    batch.counts, failed=batch.counts.total - batch.counts.completed
                ),
            )

        self.books.finish(name, list(files.values()), step)

    def _write_files(self, batch: Batch, outcome: Outcome) -> dict[str, StoredFile]:
        """By kind; a file that would be empty is not written."""
        files: dict[str, StoredFile] = {}
        for kind in ("output", "error"):
            with self.shelf.begin(derived_file_id(batch.id, kind)) as scratch:
                self._write_entries(batch, outcome, scratch, ok=kind == "output")
                if scratch.bytes:
                    scratch.keep()
                    files[kind] = self._entry(batch, kind, scratch.bytes)
        return files

    def _write_entries(self, batch: Batch, outcome: Outcome, scratch: Scratch, *, ok: bool) -> None:
        for _, good, text in self._entries(batch, outcome):
            if good == ok:
                scratch.write(text.encode() + b"\n")

    def _entries(self, batch: Batch, outcome: Outcome) -> Iterator[tuple[int, bool, str]]:
        """Results and, in their places, the lines that were left over."""
        if not self._has_input(batch):
            yield from self.books.results(batch.id)
            return
        known = iter(self.books.results(batch.id))
        following = next(known, None)
        for line in self._input(batch):
            if following is not None and following[0] == line.number:
                yield following
                following = next(known, None)
            else:
                code, message = _LEFT_OVER.get(outcome, FAILED)
                name = _name_of(line, batch.endpoint)
                left = unanswered(batch.id, line.number, name, code, message)
                yield line.number, False, left.text

    def _entry(self, batch: Batch, kind: str, size: int) -> StoredFile:
        now = int(self.ports.clock.now())
        keep = batch.output_seconds or self._keep_seconds
        return StoredFile(
            id=derived_file_id(batch.id, kind),
            tenant=batch.tenant,
            purpose="batch_output",
            filename=f"{batch.id}_{kind}.jsonl",
            bytes=size,
            created_at=now,
            expires_at=now + keep if keep else None,
            labels=",".join(batch.labels),
        )

    def _has_input(self, batch: Batch) -> bool:
        return self.shelf.path(batch.input_file).exists()

    def _input(self, batch: Batch) -> Iterator[Line]:
        return read_lines(self.shelf.path(batch.input_file))


def _check_line(line: Line, endpoint: str, seen: set[str]) -> None:
    name = read_request(line.raw, endpoint).custom_id
    if name in seen:
        message = f"custom_id {name!r} stands in an earlier line; each must be its own."
        raise BadLine("duplicate_custom_id", message, "custom_id", name)
    seen.add(name)


def _with_total(counts: Counts, total: int) -> Counts:
    return structs.replace(counts, total=total)


def _name_of(line: Line, endpoint: str) -> str | None:
    try:
        return read_request(line.raw, endpoint).custom_id
    except BadLine as bad:
        return bad.custom_id
