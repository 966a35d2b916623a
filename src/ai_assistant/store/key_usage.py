"""What keys, users and teams used, on disk: days, what is owed to the minute, money laid aside.

SQLite, so that a write is there whole or not at all. Sums are kept by adding: two nodes on one
folder do not overwrite each other. One thread at a time.
"""

import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

_BUSY_SECONDS = 5.0
_KEEP_DAYS = 800
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS days (
        account TEXT NOT NULL, day TEXT NOT NULL,
        requests INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL,
        completion_tokens INTEGER NOT NULL, refused INTEGER NOT NULL, dollars REAL NOT NULL,
        PRIMARY KEY (account, day)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS buckets (
        account TEXT NOT NULL, kind TEXT NOT NULL, level REAL NOT NULL, at REAL NOT NULL,
        PRIMARY KEY (account, kind)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS held (
        account TEXT NOT NULL, node TEXT NOT NULL, day TEXT NOT NULL, dollars REAL NOT NULL,
        PRIMARY KEY (account, node, day)) WITHOUT ROWID;
    PRAGMA user_version=1;
"""


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """One day of one account, or what came to it."""

    account: str
    day: str
    """As 2026-11-22, where the node is."""
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    refused: int = 0
    dollars: float = 0.0


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """How full a bucket was."""

    account: str
    kind: str
    level: float
    at: float
    """Seconds since 1970."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """Money that was laid aside, or came free again (below 0)."""

    account: str
    day: str
    dollars: float


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written, in one piece."""

    used: tuple[Used, ...] = ()
    levels: tuple[Level, ...] = ()
    held: tuple[Held, ...] = ()


class KeyUsage:
    """The file. Every method raises `OSError` or `sqlite3.Error`."""

    def __init__(self, path: Path, node: str) -> None:
        """`node` names this process: what others laid aside and never settled counts as spent."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._node = node
        self._db = sqlite3.connect(
            path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")  # what is laid aside survives a power cut
            self._db.executescript(_SCHEMA)
            self._settle_the_dead()
        except BaseException:
            self._db.close()
            raise

    def read(self, month: str) -> tuple[list[Used], list[Level]]:
        """The days of that month (as 2026-11) and how full the buckets were."""
        return self._days(f"{month}-01"), [
            Level(account=account, kind=kind, level=level, at=at)
            for account, kind, level, at in self._db.execute("SELECT * FROM buckets")
        ]

    def _days(self, since: str) -> list[Used]:
        return _used(self._db.execute("SELECT * FROM days WHERE day >= ?", (since,)))

    def write(self, changes: Changes) -> None:
        """Add all of it, or nothing."""
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            _add_used(db, changes.used)
            db.executemany(
                "INSERT INTO buckets VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "level = excluded.level, at = excluded.at",
                [(one.account, one.kind, one.level, one.at) for one in changes.levels],
            )
            db.executemany(
                "INSERT INTO held VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "dollars = dollars + excluded.dollars",
                [(one.account, self._node, one.day, one.dollars) for one in changes.held],
            )
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _settle_the_dead(self) -> None:
        """Whoever held money and is gone may have spent it all: it counts as spent."""
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            rows = db.execute(
                "SELECT account, day, sum(dollars) FROM held WHERE node != ? GROUP BY account, day",
                (self._node,),
            ).fetchall()
            _add_used(
                db, [Used(account=a, day=day, dollars=total) for a, day, total in rows if total]
            )
            db.execute("DELETE FROM held WHERE node != ?", (self._node,))
            db.execute("DELETE FROM days WHERE day < date('now', ?)", (f"-{_KEEP_DAYS} days",))
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")


def _add_used(db: sqlite3.Connection, used: Iterable[Used]) -> None:
    db.executemany(
        "INSERT INTO days VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
        "requests = requests + excluded.requests, "
        "prompt_tokens = prompt_tokens + excluded.prompt_tokens, "
        "completion_tokens = completion_tokens + excluded.completion_tokens, "
        "refused = refused + excluded.refused, dollars = dollars + excluded.dollars",
        [msgspec.structs.astuple(one) for one in used],
    )


def read_usage(path: Path, since: str) -> list[Used]:
    """The days from `since` on, read beside a running node; none without a file.

    Raises `sqlite3.Error`.
    """
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT * FROM days WHERE day >= ? ORDER BY day, account", (since,))
        return _used(rows)


def _used(rows: Iterable[tuple[Any, ...]]) -> list[Used]:
    """Rows of days; the columns stand in the order of the fields."""
    return [Used(**dict(zip(Used.__struct_fields__, row, strict=True))) for row in rows]
