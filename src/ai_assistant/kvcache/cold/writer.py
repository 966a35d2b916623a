"""The thread that writes: one block is packed while the one before is on its way to the disk.

Whatever the disk refuses costs what is queued and a rest, never an error for the caller.
"""

import logging
import threading
import time
from collections import deque

from ai_assistant.kvcache.cold.chores import Chores
from ai_assistant.kvcache.cold.codec import Packed, pack
from ai_assistant.kvcache.cold.home import Home
from ai_assistant.kvcache.cold.index import Index, Pending
from ai_assistant.kvcache.cold.pace import Speed, stay_behind
from ai_assistant.kvcache.cold.placer import Half, Placer
from ai_assistant.kvcache.cold.room import Room

_log = logging.getLogger(__name__)
QUEUE_BYTES = 256 << 20
PATIENCE = 5.0
"""Seconds that a queued block may wait while the processors are needed."""
REST_SECONDS = 60.0


class Writer:
    """The queue of one model's blocks. The caller of `put`, `forget` and `stop` holds the lock."""

    def __init__(
        self,
        home: Home,
        index: Index,
        room: Room,
        chores: Chores,
        lock: threading.Condition,
        word: int,
    ) -> None:
        self.speed = Speed()
        """Bytes of states."""
        self.ready = threading.Event()
        """The folder was looked through."""
        self._word = word
        self._home = home
        self._index = index
        self._room = room
        self._chores = chores
        self._placer = Placer(home, index, room, chores, lock)
        self._lock = lock
        self._puts: deque[Pending] = deque()
        self._oldest = 0.0
        self.held_until = 0.0
        """A moment of the steady clock: somebody else needs the processors until then."""
        self._busy = True
        self._off = self._stopping = self._warned = False
        self._rests_until = 0.0
        self._thread = threading.Thread(target=self._run, name="kv-cold-writer", daemon=True)

    def start(self) -> None:
        """Look through the folder, then write."""
        self._thread.start()

    def put(self, pending: Pending) -> bool:
        """Queue a block; False when it cannot be kept."""
        size, waiting = pending.state.nbytes, self._index.pending_bytes
        if self._off or self._stopping or time.monotonic() < self._rests_until:
            return False
        if size > self._room.budget or not self._room.allows_today(waiting + size):
            return False
        if waiting and waiting + size > QUEUE_BYTES:
            return False
        if not self._puts:
            self._oldest = time.monotonic()
        self._index.expect(pending)
        self._puts.append(pending)
        self._lock.notify_all()
        return True

    def forget(self, name: bytes) -> None:
        """Do not write a block after all."""
        pending = self._index.pending(name)
        if pending is not None:
            self._index.settle(pending)
            if pending in self._puts:
                self._puts.remove(pending)

    @property
    def idle(self) -> bool:
        """Nothing is left to do."""
        return self._off or not (self._busy or self._puts or self._chores)

    @property
    def crowded(self) -> bool:
        """The queue is half full: puts may soon be refused."""
        return self._index.pending_bytes > QUEUE_BYTES // 2

    def stop(self) -> None:
        """End; what is queued is dropped."""
        self._stopping = True
        self._drop_all()
        self._lock.notify_all()

    def join(self, seconds: float) -> None:
        """Wait for the end, without the lock."""
        self._thread.join(seconds)

    # The thread.

    def _run(self) -> None:
        stay_behind()
        try:
            self._begin()
            half: Half | None = None
            while half or not self._stopping:
                half = self._turn(self._next(wait=half is None), half)
        finally:
            self._turn_off()
            self.ready.set()

    def _begin(self) -> None:
        try:
            self._home.prepare()
            self._placer.survey()
        except OSError as error:
            _log.warning("nothing of the KV cache is kept on disk: %s", error)
            self._turn_off()
        self.ready.set()

    def _turn_off(self) -> None:
        with self._lock:
            self._off = True
            self._drop_all()
            self._lock.notify_all()

    def _next(self, *, wait: bool) -> Pending | None:
        with self._lock:
            while wait and not (self._puts or self._chores or self._stopping):
                self._busy = False
                self._lock.notify_all()
                self._lock.wait()
            while wait and self._puts and self._held():
                self._lock.wait(0.05)
            self._busy = True
            return self._puts.popleft() if self._puts else None

    def _held(self) -> bool:
        """Whether to stay behind: not for long, and not when much waits."""
        now = time.monotonic()
        patient = now - self._oldest < PATIENCE and not self.crowded
        return patient and now < self.held_until and not self._stopping

    def _turn(self, pending: Pending | None, half: Half | None) -> Half | None:
        """Finish the block that is half written and write the next one by half."""
        try:
            begun = time.monotonic()
            packed = pack(pending.state, self._word) if pending else None
            spent = time.monotonic() - begun
            if half:
                self._finish(half)
            self._chores.run()
            return self._start(pending, packed, spent) if pending and packed else None
        except (OSError, MemoryError) as error:
            if half:
                half.draft.discard()
            self._rest(error)
            return None

    def _start(self, pending: Pending, packed: Packed, spent: float) -> Half | None:
        begun = time.monotonic()
        half = self._placer.start(pending, packed)
        if half is None:
            with self._lock:
                self._index.settle(pending)
            return None
        half.seconds = spent + time.monotonic() - begun
        return half

    def _finish(self, half: Half) -> None:
        begun = time.monotonic()
        self._placer.finish(half)
        self._warned = False
        seconds = half.seconds + time.monotonic() - begun
        self.speed.measured(half.pending.state.nbytes, seconds)

    def _rest(self, error: Exception) -> None:
        if not self._warned:
            _log.warning("the KV cache on disk rests for %.0f s: %s", REST_SECONDS, error)
        self._warned = True
        with self._lock:
            self._rests_until = time.monotonic() + REST_SECONDS
            self._drop_all()

    def _drop_all(self) -> None:
        self._puts.clear()
        self._index.abandon()
