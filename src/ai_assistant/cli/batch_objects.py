"""A batch as the node tells of it, and what people read of it."""

import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from ai_assistant.cli.client import Client
from ai_assistant.cli.errors import CommandError
from ai_assistant.cli.output import columns, duration, printable

ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_LIST_LIMIT = 100
_RATE_SECONDS = 60.0


class Counts(msgspec.Struct, frozen=True):
    """Lines."""

    total: int = 0
    completed: int = 0
    failed: int = 0

    @property
    def done(self) -> int:
        """Lines that have a result."""
        return self.completed + self.failed


class Problem(msgspec.Struct, frozen=True):
    """Why a batch failed."""

    message: str = ""


class Problems(msgspec.Struct, frozen=True):
    """OpenAI's list of them."""

    data: tuple[Problem, ...] = ()


class Doing(msgspec.Struct, frozen=True):
    """What a batch is doing now."""

    state: str = ""
    reason: str | None = None
    message: str | None = None
    until: int | None = None
    online: bool | None = None


class Batch(msgspec.Struct, frozen=True):
    """The fields that are shown."""

    id: str
    status: str
    endpoint: str
    created_at: int
    expires_at: int = 0
    request_counts: Counts = Counts()
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: Problems | None = None
    ai_assistant: Doing = Doing()

    @property
    def ended(self) -> bool:
        """Nothing more will happen to it."""
        return self.status in ENDED


def read_batch(tree: Any) -> Batch:
    """A batch from the node's object; raises `CommandError` for another server's answer."""
    try:
        return msgspec.convert(tree, Batch)
    except msgspec.ValidationError as error:
        raise CommandError(f"The node's answer is not a batch: {error}.") from error


def fetch_batches(client: Client) -> list[Any]:
    """All batches, newest first, as the node tells of them."""
    found: list[Any] = []
    after: dict[str, Any] = {}
    while True:
        page = client.fetch("GET", "/v1/batches", params={"limit": _LIST_LIMIT, **after})
        found += page["data"]
        if not page["has_more"]:
            return found
        after = {"after": page["last_id"]}


class Meter:
    """How fast a batch gets on, over the last minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, done: int, now: float | None = None) -> None:
        """So many lines are done now."""
        now = time.monotonic() if now is None else now
        self._seen.append((now, done))
        while now - self._seen[0][0] > _RATE_SECONDS:
            self._seen.popleft()

    def rate(self) -> float:
        """Lines per second; 0 while nothing is known."""
        (begin, before), (end, after) = self._seen[0], self._seen[-1]
        return (after - before) / (end - begin) if end > begin else 0.0


def progress_line(batch: Batch, meter: Meter) -> str:
    """One line that says how far it is, how fast, how long still, or why it waits."""
    counts = batch.request_counts
    parts = [batch.status.replace("_", " "), f"{counts.done} of {counts.total}"]
    if counts.failed:
        parts.append(f"{counts.failed} failed")
    if batch.ended:
        return ", ".join(parts)
    rate = meter.rate()
    if batch.ai_assistant.state == "waiting":
        parts.append(_waiting(batch.ai_assistant))
    elif rate:
        left = (counts.total - counts.done) / rate
        parts.append(f"{rate:.1f} lines/s, {duration(left)} left")
    if batch.ai_assistant.online is False:
        parts.append("offline")
    return ", ".join(parts)


def _waiting(doing: Doing) -> str:
    until = ""
    if doing.until is not None:
        until = f" until {time.strftime('%H:%M', time.localtime(doing.until))}"
    return printable(f"waits for the {doing.reason}{until}: {doing.message}")


def table(batches: Sequence[Batch]) -> str:
    """One row for each."""
    head = ("id", "status", "done", "failed", "total", "endpoint", "created")
    return columns(head, [_row(batch) for batch in batches])


def _row(batch: Batch) -> tuple[str, ...]:
    counts = batch.request_counts
    waiting = f" ({batch.ai_assistant.reason})" if batch.ai_assistant.reason else ""
    return (
        batch.id,
        f"{batch.status}{waiting}",
        str(counts.completed),
        str(counts.failed),
        str(counts.total),
        batch.endpoint,
        f"{duration(max(0.0, time.time() - batch.created_at))} ago",
    )
