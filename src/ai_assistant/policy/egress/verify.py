"""Reads the whole log and tells what is wrong with it: changed, removed, reordered, cut off."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ai_assistant.policy.egress.anchor import Anchor, BadAnchor, read_anchor
from ai_assistant.policy.egress.keys import public_key, read_keys
from ai_assistant.policy.egress.record import (
    START,
    BadLine,
    Record,
    hash_of,
    is_signed,
    read_line,
)
from ai_assistant.policy.egress.segments import Line, lines, number_of, segments


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong."""

    file: str
    line: int
    """0: the file as a whole."""
    what: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a reading of the whole log gave."""

    records: int = 0
    files: int = 0
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    """Nothing wrong, but worth knowing."""
    head: str = ""
    """NUMBER:HASH of the last record: kept elsewhere, it proves later that nothing was removed."""
    public_key: str = ""

    @property
    def sound(self) -> bool:
        """Nothing is wrong."""
        return not self.problems


def verify(folder: Path, *, key: str = "", expected: Anchor | None = None) -> Verdict:
    """Check every line; `expected` is a head that was kept elsewhere.

    Without `key`, a public key, the folder's own counts. Raises `BadKey` and `OSError`.
    """
    files = segments(folder)
    own = read_keys(folder)
    key = key or (own.public if own else _declared(files))
    if not key:
        return _without_key(files, expected)
    check = _Check(public_key(key))
    check.anchors(folder, expected)
    for place, path in enumerate(files, 1):
        check.file(path, place)
    check.end()
    return Verdict(
        records=check.records,
        files=len(files),
        problems=tuple(check.problems),
        notes=tuple(check.notes),
        head=str(Anchor(check.seq, check.hash)) if check.records else "",
        public_key=key,
    )


def read_records(folder: Path) -> Iterator[Record]:
    """Every record that can be read, without checking it."""
    for path in segments(folder):
        for line in lines(path):
            try:
                yield read_line(line.data)[0]
            except BadLine:
                continue


class _Check:
    """Follows the chain."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        self._unread: list[Line] = []
        self._trusted = True
        self._wanted: list[tuple[Anchor, str]] = []
        self._file = ""
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.records = 0
        self.seq = 0
        self.hash = START

    def anchors(self, folder: Path, expected: Anchor | None) -> None:
        """What the log must reach."""
        try:
            own = read_anchor(folder, self._key)
        except BadAnchor as error:
            self._wrong(0, f"{error}: a tail that was cut off cannot be noticed")
            own = None
        else:
            if own is None and segments(folder):
                self._wrong(0, "the anchor is gone: a tail that was cut off cannot be noticed")
        if own is not None:
            self._wanted.append((own, "the anchor"))
        if expected is not None:
            self._wanted.append((expected, "the head that you kept"))

    def file(self, path: Path, place: int) -> None:
        """One file."""
        self._file = path.name
        if number_of(path) != place:
            self._wrong(0, f"the file with number {place} is missing")
            self._trusted = False
        for line in lines(path):
            try:
                record, body, signature = read_line(line.data)
            except BadLine:
                self._unread.append(line)
                continue
            self._settle(record)
            self._line(line, record, is_signed(body, signature, self._key))

    def end(self) -> None:
        """After the last file."""
        if self._unread and not self._unread[-1].whole:
            self.notes.append(
                "The last line is torn, as after a crash; it was never acknowledged, and the next"
                " start closes it."
            )
        elif self._unread:
            self._wrong(self._unread[0].number, "this is no record: it was changed")
        for anchor, name in self._wanted:
            if anchor.seq > self.seq:
                lost = anchor.seq - self.seq
                self._wrong(0, f"the tail is cut off: {name} knows {lost} more")

    def _settle(self, record: Record) -> None:
        """Lines that are no records are a crash's, if the record behind them says so."""
        if not self._unread:
            return
        first = self._unread[0].number
        torn = b"\n".join(line.data for line in self._unread)
        digests = {hashlib.sha256(torn).hexdigest(), hashlib.sha256(torn + b"\n").hexdigest()}
        if record.kind == "torn" and record.digest in digests:
            self.notes.append(f"{self._file}, line {first}: torn by a crash and closed honestly.")
        else:
            self._wrong(first, "this is no record: it was changed")
            self._trusted = False
        self._unread.clear()

    def _line(self, line: Line, record: Record, signed: bool) -> None:
        self.records += 1
        if not signed:
            self._wrong(line.number, "the signature is wrong: the line was changed")
        if record.kind == "gap":
            self._wrong(
                line.number,
                f"{record.missing} records before this one were gone when the program started",
            )
        elif record.seq != self.seq + 1:
            self._wrong(line.number, self._order(record.seq))
        elif record.prev != self.hash and self._trusted and signed:
            self._wrong(line.number, "it does not follow the line before it")
        self._trusted = signed
        self.seq, self.hash = record.seq, hash_of(line.data)
        for anchor, name in self._wanted:
            if anchor.seq == self.seq and anchor.hash != self.hash:
                self._wrong(line.number, f"it is not the record that {name} knows")

    def _order(self, found: int) -> str:
        if found > self.seq + 1:
            return f"records {self.seq + 1} to {found - 1} are missing before it"
        return f"record {found} stands behind record {self.seq}: repeated or reordered"

    def _wrong(self, line: int, what: str) -> None:
        self.problems.append(Problem(self._file, line, what))


def _declared(files: list[Path]) -> str:
    """The key that the log itself names: better than none."""
    for line in lines(files[0]) if files else ():
        try:
            return read_line(line.data)[0].public_key
        except BadLine:
            return ""
    return ""


def _without_key(files: list[Path], expected: Anchor | None) -> Verdict:
    """Nothing was ever written, or the beginning is gone."""
    if not files and expected is None:
        return Verdict()
    what = "the log is gone" if not files else "there is no key to check signatures with"
    return Verdict(files=len(files), problems=(Problem("", 0, what),))
