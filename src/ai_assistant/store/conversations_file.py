"""The SQLite file behind the conversations: opening, migrating, and what can go wrong.

Every `sqlite3` and system error is translated here.
"""

import os
import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from ai_assistant.protocol.errors import Unavailable

BUSY_SECONDS = 5.0

# Appended to, never edited: the file's user_version is the number of those applied.
MIGRATIONS = (
    """
    CREATE TABLE conversations (
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        title TEXT NOT NULL,
        model TEXT NOT NULL,
        settings TEXT NOT NULL,
        created_at REAL NOT NULL,
        updated_at REAL NOT NULL,
        PRIMARY KEY (tenant, id)
    ) WITHOUT ROWID;
    CREATE INDEX conversations_by_age ON conversations (tenant, updated_at);
    CREATE TABLE messages (
        tenant TEXT NOT NULL,
        conversation TEXT NOT NULL,
        position INTEGER NOT NULL,
        id TEXT NOT NULL,
        role TEXT NOT NULL,
        content TEXT NOT NULL,
        reasoning TEXT NOT NULL,
        tool_calls TEXT NOT NULL,
        model TEXT NOT NULL,
        state TEXT NOT NULL,
        details TEXT NOT NULL,
        created_at REAL NOT NULL,
        PRIMARY KEY (tenant, conversation, position),
        UNIQUE (tenant, conversation, id),
        FOREIGN KEY (tenant, conversation) REFERENCES conversations (tenant, id) ON DELETE CASCADE
    );
    """,
)


class ConversationsUnavailable(Unavailable):
    """The conversations cannot be read or written now; answers still work."""

    code = "conversations_unavailable"


class DiskFull(ConversationsUnavailable):
    """No room for another message."""

    code = "disk_full"


class ConversationsLocked(ConversationsUnavailable):
    """Another program holds the file."""

    code = "conversations_locked"


class ConversationsDamaged(ConversationsUnavailable):
    """The file was found damaged; it has been set aside and a new one begins."""

    code = "conversations_damaged"


class ConversationsTooNew(ConversationsUnavailable):
    """A newer version of this program wrote the file."""

    code = "conversations_too_new"


class ConversationsFile:
    """One connection, opened when it is needed. The caller lets one thread in at a time."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "conversations.db"
        self.notice: str | None = None
        self._db: sqlite3.Connection | None = None

    @contextmanager
    def transaction(self, kind: Literal["DEFERRED", "IMMEDIATE"]) -> Generator[sqlite3.Connection]:
        """All of the block's changes, or none of them."""
        try:
            db = self._opened()
            db.execute(f"BEGIN {kind}")
            try:
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
        except (sqlite3.Error, OSError) as error:
            raise self._translated(error) from error

    def close(self) -> None:
        """Let go of the file."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            try:
                self._db = _connect(self.path)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._set_aside()
                self._db = _connect(self.path)
        return self._db

    def _set_aside(self) -> None:
        """Keep the damaged file under another name, with its log, for repair by hand."""
        self.close()
        kept = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns() // 1_000_000}")
        for suffix in ("", "-wal", "-shm"):
            part = self.path.with_name(self.path.name + suffix)
            if part.exists():
                part.rename(kept.with_name(kept.name + suffix))
        self.notice = (
            f"The conversations file was damaged. It is kept as {kept}; a new one has begun."
        )

    def _translated(self, error: sqlite3.Error | OSError) -> ConversationsUnavailable:
        code = _primary_code(error)
        if isinstance(error, sqlite3.DatabaseError) and _is_damage(error):
            self._set_aside()
            return ConversationsDamaged(self.notice or "", retry_after=0)
        if code == sqlite3.SQLITE_FULL:
            return DiskFull(f"The disk is full: free some space, then try again ({self.path}).")
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return ConversationsLocked(
                f"Another program holds {self.path}: close it or try again.", retry_after=1
            )
        return ConversationsUnavailable(
            f"Conversations cannot be kept in {self.path}: {error}."
            " Check that the folder exists and can be written; answers work meanwhile."
        )


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    os.chmod(path, 0o600)
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",  # a power cut loses nothing either
            "foreign_keys=ON",
            "secure_delete=ON",
        ):
            db.execute(f"PRAGMA {pragma}")
        found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise _Damage(found)
        _migrate(db)
    except BaseException:
        db.close()
        raise
    return db


def _migrate(db: sqlite3.Connection) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise ConversationsTooNew(
            "The conversations were written by a newer version: update this program."
        )
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        db.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version={number}; COMMIT;")


class _Damage(sqlite3.DatabaseError):
    """What `quick_check` found."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


def _primary_code(error: Exception) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return _primary_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
