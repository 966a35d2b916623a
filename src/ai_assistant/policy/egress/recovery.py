"""What a program finds when it opens the log that another one left, perhaps by a crash."""

import hashlib
from pathlib import Path

import msgspec

from ai_assistant.policy.egress.anchor import Anchor
from ai_assistant.policy.egress.record import START, BadLine, Record, hash_of, read_line
from ai_assistant.policy.egress.segments import lines, number_of, segments


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """Where the log stands."""

    number: int = 0
    """Of the last file; 0: there is none."""
    size: int = 0
    seq: int = 0
    hash: str = START
    torn: bytes = b""
    """What stands behind the last record: the beginning of a line whose end never came."""
    open: tuple[str, ...] = ()
    """Departures whose end is not known."""


def what_was_left(folder: Path) -> Left:
    """Read the last file; raises `OSError`."""
    files = segments(folder)
    if not files:
        return Left()
    seq, last = 0, START
    unread: list[bytes] = []
    still_open: dict[str, None] = {}
    for line in lines(files[-1]):
        try:
            record, _, _ = read_line(line.data)
        except BadLine:
            record = None
        if record is None or not line.whole:
            unread.append(line.data + b"\n" * line.whole)
            continue
        unread.clear()
        seq, last = record.seq, hash_of(line.data)
        _follow(still_open, record)
    return Left(
        number=number_of(files[-1]),
        size=files[-1].stat().st_size,
        seq=seq,
        hash=last,
        torn=b"".join(unread),
        open=tuple(still_open),
    )


def closing(left: Left, anchor: Anchor | None) -> list[Record]:
    """Records that say honestly what was found, in order."""
    found: list[Record] = []
    if left.torn:
        digest = hashlib.sha256(left.torn).hexdigest()
        found.append(Record(kind="torn", bytes=len(left.torn), digest=digest))
    if anchor is not None and anchor.seq > left.seq:
        missing = anchor.seq - left.seq
        found.append(Record(kind="gap", missing=missing, digest=anchor.hash))
    found += [Record(kind="ended", id=one, outcome="unknown") for one in left.open]
    return found


def _follow(still_open: dict[str, None], record: Record) -> None:
    if record.kind == "segment":
        still_open.update(dict.fromkeys(record.open))
    elif record.kind == "sent":
        still_open[record.id] = None
    elif record.kind == "ended":
        still_open.pop(record.id, None)
