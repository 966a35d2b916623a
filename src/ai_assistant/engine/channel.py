"""The pipe to the node: orders come in on a thread of their own, reports go out from the loop.

The orders' thread also turns requests into sequences (template, tokens, grammar), so that a long
prompt never holds up the tokens of the others.
"""

import contextlib
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from typing import BinaryIO

from ai_assistant.protocol.errors import Overloaded
from ai_assistant.protocol.frames import (
    Embed,
    EngineReport,
    Generate,
    Load,
    Order,
    Tokenize,
    pack,
    read_frame,
    unpack_order,
)

_REMEMBERED_ABORTS = 4096
Asked = Generate | Embed | Tokenize
"""Orders that want an answer."""
Arrival = object
"""What a request was prepared to, a report to pass on, or an order about the engine itself."""


class Aborted:
    """Requests that were given up before they were prepared: aborts overtake them."""

    def __init__(self) -> None:
        self._ids: dict[str, None] = {}

    def add(self, request_id: str) -> None:
        """Remember; the oldest is forgotten when there are too many."""
        self._ids[request_id] = None
        if len(self._ids) > _REMEMBERED_ABORTS:
            del self._ids[next(iter(self._ids))]

    def take(self, request_id: str) -> bool:
        """Whether it was given up; asked once."""
        return self._ids.pop(request_id, 0) is None


def too_many_wait(waiting: int) -> Overloaded:
    """The orderly refusal of a full queue."""
    return Overloaded(
        f"{waiting} requests wait already; try again in a few seconds.", retry_after=5
    )


class Reports:
    """The way out: frames on the pipe that standard output was at the start."""

    def __init__(self, stream: BinaryIO) -> None:
        self._descriptor = stream.fileno()
        self._lock = threading.Lock()
        """Blocks of the KV cache are sent by a thread of their own."""

    def send(self, report: EngineReport) -> None:
        """Write a whole frame; the node is gone when that fails, and so are we."""
        data = memoryview(pack(report))
        try:
            with self._lock:
                while data:
                    data = data[os.write(self._descriptor, data) :]
        except OSError:
            os._exit(0)


class Orders:
    """The way in. Requests are prepared on a second thread; aborts overtake them."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._requests: queue.SimpleQueue[Asked] = queue.SimpleQueue()
        self.arrivals: queue.SimpleQueue[Arrival] = queue.SimpleQueue()
        self.unprepared = 0
        self._count = threading.Lock()

    @property
    def all_prepared(self) -> bool:
        """Whether every request that came so far has been taken in, or refused."""
        return not self.unprepared and self.arrivals.empty()

    def start(self, prepare: Callable[[Asked], Arrival]) -> None:
        """Begin to listen; `prepare` turns requests into what the loop understands."""
        listen: Callable[[], None] = self._listen
        for work in (listen, lambda: self._prepare_all(prepare)):
            threading.Thread(target=_or_end, args=(work,), daemon=True).start()

    def _listen(self) -> None:
        while (body := read_frame(self._stream)) is not None:
            self._sort(unpack_order(body))
        # The node is gone: nobody waits for an answer.
        os._exit(0)

    def _sort(self, order: Order) -> None:
        if isinstance(order, Asked):
            with self._count:
                self.unprepared += 1
            self._requests.put(order)
        elif not isinstance(order, Load):
            self.arrivals.put(order)

    def _prepare_all(self, prepare: Callable[[Asked], Arrival]) -> None:
        while True:
            arrival = prepare(self._requests.get())
            self.arrivals.put(arrival)
            with self._count:
                self.unprepared -= 1


def _or_end(work: Callable[[], None]) -> None:
    """Run a thread's work; an engine that lost a thread would let requests wait for ever, so it
    ends, and the node tells the clients and starts another."""
    try:
        work()
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(70)


def claim_standard_streams() -> tuple[BinaryIO, BinaryIO]:
    """Orders and reports: what standard input and output were.

    From here on prints of any library go to standard error and cannot tear a frame.
    """
    orders = os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=1 << 16)
    reports = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    with contextlib.suppress(OSError):
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return orders, reports  # type: ignore[return-value]
