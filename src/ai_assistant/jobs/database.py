"""The jobs' tables, in SQLite or Postgres: opening, migrating, and what can go wrong.

The only door to SQLAlchemy; every error of a database is translated here. The SQL is what both
databases understand.
"""

import os
import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from ai_assistant.jobs.errors import JobsDiskFull, JobsUnavailable
from ai_assistant.jobs.place import FILE_NAME

_BUSY_MILLISECONDS = 20_000
_POSTGRES_FULL = "53100"

# Appended to, never edited: the version in the database is the number of those applied.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE job_files (
            id TEXT PRIMARY KEY,
            tenant TEXT NOT NULL,
            purpose TEXT NOT NULL,
            filename TEXT NOT NULL,
            bytes BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            expires_at BIGINT,
            born BIGINT NOT NULL
        )
        """,
        "CREATE INDEX job_files_by_age ON job_files (tenant, born, id)",
        """
        CREATE TABLE job_batches (
            id TEXT PRIMARY KEY,
            tenant TEXT NOT NULL,
            status TEXT NOT NULL,
            input_file TEXT NOT NULL,
            born BIGINT NOT NULL,
            facts TEXT NOT NULL
        )
        """,
        "CREATE INDEX job_batches_by_age ON job_batches (tenant, born, id)",
        "CREATE INDEX job_batches_by_status ON job_batches (status)",
        """
        CREATE TABLE job_results (
            batch TEXT NOT NULL,
            line BIGINT NOT NULL,
            ok INTEGER NOT NULL,
            text TEXT NOT NULL,
            PRIMARY KEY (batch, line)
        )
        """,
    ),
    ("ALTER TABLE job_files ADD COLUMN labels TEXT NOT NULL DEFAULT ''",),
)


class Database:
    """An engine with our tables in it. Its methods block."""

    def __init__(self, folder: Path, url: str = "") -> None:
        """Raises `JobsUnavailable`."""
        self.url = url or f"sqlite:///{folder / FILE_NAME}"
        self._where = "in the database of jobs.database" if url else f"in {folder / FILE_NAME}"
        self._postgres = bool(url)
        self._writing = threading.Lock()
        with self._translated():
            if not url:
                _create_private(folder / FILE_NAME)
            # psycopg 3: the library's own default is its predecessor.
            self._engine = sa.create_engine(self.url.replace("postgresql://", _PSYCOPG, 1))
            if not self._postgres:
                event.listen(self._engine, "connect", _set_pragmas)
                event.listen(self._engine, "begin", _begin_immediate)
        self._migrate()

    @contextmanager
    def reading(self) -> Generator[sa.Connection]:
        """Each statement for itself."""
        with self._translated(), self._engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def writing(self) -> Generator[sa.Connection]:
        """All of the block's changes, or none of them."""
        with self._translated(), self._writing, self._engine.begin() as connection:
            yield connection

    @property
    def for_update(self) -> str:
        """What a SELECT needs that is followed by a change; SQLite has one writer anyway."""
        return " FOR UPDATE" if self._postgres else ""

    def shrink(self) -> None:
        """Give the room of what was deleted back to the disk; Postgres does that by itself."""
        if not self._postgres:
            with self.reading() as db:
                connection: Any = db.connection.dbapi_connection
                connection.executescript("PRAGMA incremental_vacuum")  # steps to its end

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()

    def _migrate(self) -> None:
        with self.writing() as db:
            db.execute(sa.text("CREATE TABLE IF NOT EXISTS job_schema (version INTEGER)"))
            version: int = db.execute(sa.text("SELECT max(version) FROM job_schema")).scalar() or 0
            if version > len(MIGRATIONS):
                raise JobsUnavailable("A newer version wrote the jobs: update this program.")
            for statements in MIGRATIONS[version:]:
                version += 1
                for statement in statements:
                    db.execute(sa.text(statement))
                db.execute(sa.text("INSERT INTO job_schema VALUES (:v)"), {"v": version})

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except (exc.SQLAlchemyError, OSError) as error:
            raise self._in_words(error) from error

    def _in_words(self, error: Exception) -> JobsUnavailable:
        cause: Any = getattr(error, "orig", None) or error
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL or getattr(cause, "sqlstate", "") == _POSTGRES_FULL:
            return JobsDiskFull(f"The disk is full: free some space. Jobs are {self._where}.")
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return JobsUnavailable(
                f"The list of jobs {self._where} is damaged: move it away and restart the node."
            )
        reason = str(cause).strip().partition("\n")[0]
        return JobsUnavailable(
            f"Jobs cannot be kept {self._where}: {reason}. Answers work meanwhile."
        )


_PSYCOPG = "postgresql+psycopg://"


def _create_private(path: Path) -> None:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    os.chmod(path, 0o600)


def _set_pragmas(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # `_begin_immediate` says when
    for pragma in (
        f"busy_timeout={_BUSY_MILLISECONDS}",
        "auto_vacuum=INCREMENTAL",  # of a new file; `shrink` does it
        "journal_mode=WAL",
        "synchronous=FULL",  # a power cut loses nothing either
        "secure_delete=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: sa.Connection) -> None:
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
