"""Writes the egress log: append-only, chained, signed, synced before bytes leave."""

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ai_assistant.policy.egress.anchor import Anchor, BadAnchor, read_anchor, write_anchor
from ai_assistant.policy.egress.keys import BadKey, Keys, make_keys, read_keys
from ai_assistant.policy.egress.record import VERSION, Record, hash_of, signed_line
from ai_assistant.policy.egress.recovery import closing, what_was_left
from ai_assistant.policy.egress.segments import segment, sync_folder, take_lock
from ai_assistant.policy.errors import NotRecorded

SEGMENT_BYTES = 64 << 20


class EgressLog:
    """One program's log, opened when it is first needed. Any thread may call it."""

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.folder = folder
        self._segment_bytes = segment_bytes
        self._now = now
        self._writing = threading.Lock()
        self._syncing = threading.Lock()
        self._open: _Open | None = None

    def digest(self, data: bytes) -> str:
        """The keyed digest of what leaves; raises `NotRecorded`."""
        with self._writing:
            keys = self._opened().keys
        return keys.digest(data)

    def commit_all(self, departures: Sequence[tuple[Record, bytes]]) -> None:
        """Write records with the digests of what leaves, as `commit` does, in one go."""
        if departures:
            self._commit([
                msgspec.structs.replace(record, digest=self.digest(body), bytes=len(body))
                for record, body in departures
            ])  # fmt: skip

    def commit(self, record: Record) -> None:
        """Write a record and return when it outlives a power cut; raises `NotRecorded`.

        Threads that commit at the same time share one sync.
        """
        self._commit([record])

    def _commit(self, records: Sequence[Record]) -> None:
        written = self._append(records, anchored=True)
        with self._syncing:
            current = self._open
            if current is None:
                raise NotRecorded("The egress log was closed; nothing was sent.")
            if current.synced >= written:
                return
            reached = current.seq
            try:
                os.fsync(current.handle)
                current.synced = reached
                return
            except OSError as error:
                refusal = self._refusal(error)
        with self._writing, self._syncing:
            if self._open is current:
                self._abandon()
        raise refusal

    def note(self, record: Record) -> None:
        """Write a record that a power cut may take, a `kill -9` not; raises `NotRecorded`.

        The anchor knows it from the next departure on, or from the end of the program.
        """
        self._append([record], anchored=False)

    def close(self) -> None:
        """Give the file back to other programs."""
        with self._writing, self._syncing:
            if self._open is not None:
                with contextlib.suppress(OSError):
                    self._open.anchor()
                    os.fsync(self._open.handle)
                self._abandon()

    def _append(self, records: Sequence[Record], *, anchored: bool) -> int:
        with self._writing:
            try:
                current = self._opened()
                if current.size >= self._segment_bytes:
                    self._rotate(current)
                current.write(records, self._now())
                if anchored:
                    current.anchor()
            except OSError as error:
                with self._syncing:
                    self._abandon()
                raise self._refusal(error) from error
            return current.seq

    def _opened(self) -> "_Open":
        if self._open is None:
            try:
                self._open = _open_log(self.folder, self._now)
            except (OSError, BadKey) as error:
                raise self._refusal(error) from error
        return self._open

    def _rotate(self, current: "_Open") -> None:
        with self._syncing:
            os.fsync(current.handle)
            current.begin_segment(self._now())
            current.synced = current.seq

    def _abandon(self) -> None:
        """After an error nobody knows what the file holds: it is read again when it is opened."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _refusal(self, error: Exception) -> NotRecorded:
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        return NotRecorded(
            f"The egress log in {self.folder} cannot be written: {reason}."
            " Nothing leaves this machine until it can.",
            retry_after=30,
        )


class _Open:
    """The open file and where the chain stands."""

    def __init__(self, folder: Path, lock: int, keys: Keys) -> None:
        self.folder = folder
        self.keys = keys
        self.handle = -1
        self.size = self.seq = self.synced = self.number = 0
        self.hash = ""
        self.still_open: dict[str, None] = {}
        self._lock = lock
        self._anchored = -1

    def write(
        self, records: Sequence[Record], now: datetime, *, skipped: int = 0, before: bytes = b""
    ) -> None:
        """A line each, wholly or not at all as far as this program can tell."""
        time = now.isoformat(timespec="milliseconds")
        seq, prev, parts = self.seq + skipped, self.hash, [before]
        for record in records:
            seq += 1
            full = msgspec.structs.replace(record, seq=seq, prev=prev, time=time)
            line = signed_line(full, self.keys.private)
            prev = hash_of(line)
            parts += (line, b"\n")
        data = b"".join(parts)
        if os.write(self.handle, data) != len(data):
            raise OSError(28, "the disk is full")
        self.size += len(data)
        self.seq, self.hash = seq, prev
        for record in records:
            self._follow(record)

    def _follow(self, record: Record) -> None:
        if record.kind == "sent":
            self.still_open[record.id] = None
        elif record.kind == "ended":
            self.still_open.pop(record.id, None)

    def anchor(self) -> None:
        """Keep beside the log how far it has come."""
        if self.seq != self._anchored:
            write_anchor(self.folder, Anchor(self.seq, self.hash), self.keys.private)
            self._anchored = self.seq

    def begin_segment(self, now: datetime) -> None:
        """A new file that goes on where this one ends."""
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1
        self.number += 1
        self.use(self.number)
        opening = Record(
            kind="segment",
            version=VERSION,
            public_key=self.keys.public,
            open=tuple(self.still_open),
        )
        self.write([opening], now)
        self.anchor()
        os.fsync(self.handle)
        sync_folder(self.folder)

    def use(self, number: int) -> None:
        """Write to that file from now on."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self.number = number
        self.handle = os.open(segment(self.folder, number), flags, 0o600)
        self.size = os.fstat(self.handle).st_size

    def close(self) -> None:
        """Let others write."""
        for handle in (self.handle, self._lock):
            if handle >= 0:
                with contextlib.suppress(OSError):
                    os.close(handle)
        self.handle = self._lock = -1


def _open_log(folder: Path, now: Callable[[], datetime]) -> _Open:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = take_lock(folder)
    try:
        keys = read_keys(folder) or make_keys(folder)
        current = _Open(folder, lock, keys)
        try:
            _continue(current, now)
        except BaseException:
            if current.handle >= 0:
                os.close(current.handle)
            raise
    except BaseException:
        os.close(lock)
        raise
    return current


def _continue(current: _Open, now: Callable[[], datetime]) -> None:
    """Go on where the log was left, after saying what was found."""
    left = what_was_left(current.folder)
    try:
        anchor = read_anchor(current.folder, current.keys.private.public_key())
    except BadAnchor:
        anchor = None
    current.number, current.seq, current.hash = left.number, left.seq, left.hash
    current.still_open = dict.fromkeys(left.open)
    found = closing(left, anchor)
    if left.number == 0:
        current.begin_segment(now())
    else:
        current.use(left.number)
    for record in found:
        ends_line = record.kind == "torn" and not left.torn.endswith(b"\n")
        current.write([record], now(), skipped=record.missing, before=b"\n" if ends_line else b"")
    current.anchor()
    os.fsync(current.handle)
    current.synced = current.seq
