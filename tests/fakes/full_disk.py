"""A disk without room for a database: SQLite itself says so, by its own limit."""

from typing import Any

from sqlalchemy import event

from ai_assistant.jobs.database import Database

_NO_LIMIT = 1 << 30


class FullDisk:
    """The disk of a database, as far as that can tell."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._engine = database._engine  # pyright: ignore[reportPrivateUsage]
        self._limit = _NO_LIMIT
        event.listen(self._engine, "connect", self._limit_pages)

    def fill(self, *, spare: int) -> None:
        """From now on there is room for so many pages more."""
        with self._database.reading() as db:
            self._limit = (db.exec_driver_sql("PRAGMA page_count").scalar() or 0) + spare
        self._engine.dispose()

    def clear(self) -> None:
        """There is room again."""
        self._limit = _NO_LIMIT
        self._engine.dispose()

    def _limit_pages(self, connection: Any, _record: Any) -> None:
        connection.execute(f"PRAGMA max_page_count = {self._limit}")
