"""What is kept of files, batches and results: each change is one transaction."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import structs

from ai_assistant.jobs.database import Database
from ai_assistant.jobs.entries import Page, StoredFile
from ai_assistant.jobs.errors import FileInUse
from ai_assistant.jobs.results import Result
from ai_assistant.jobs.states import FINAL, Batch, Counts
from ai_assistant.protocol.errors import InvalidRequest, NotFound

_OPEN = f"status NOT IN ({', '.join(repr(status) for status in sorted(FINAL))})"
_FILE_FIELDS = "id, tenant, purpose, filename, bytes, created_at, expires_at, labels"


class Books:
    """The jobs' tables. Methods block, raise `JobsUnavailable`, and may be called from threads."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # Files.

    def add_file(self, file: StoredFile) -> None:
        """Enter it; a second time changes nothing."""
        with self._db.writing() as db:
            _enter_file(db, file)

    def file(self, tenant: str, name: str) -> StoredFile:
        """Raises `NotFound`, also for a file of somebody else."""
        query = f"SELECT {_FILE_FIELDS} FROM job_files WHERE id = :id AND tenant = :tenant"
        with self._db.reading() as db:
            row = db.execute(sa.text(query), {"id": name, "tenant": tenant}).mappings().first()
        if row is None:
            raise NotFound(f"There is no file {name}.", param="file_id")
        return _to_file(row)

    def files(self, tenant: str, page: Page, purpose: str | None) -> list[StoredFile]:
        """The tenant's files, by age; one more than the limit if there are more."""
        wanted = "" if purpose is None else " AND purpose = :purpose"
        rows = self._page("job_files", _FILE_FIELDS, tenant, page, wanted, {"purpose": purpose})
        return [_to_file(row) for row in rows]

    def drop_file(self, tenant: str, name: str) -> None:
        """Forget it; raises `NotFound`, and `FileInUse` while a batch needs it."""
        self.file(tenant, name)
        with self._db.writing() as db:
            query = f"SELECT id FROM job_batches WHERE input_file = :id AND {_OPEN}"
            if used := db.execute(sa.text(query), {"id": name}).scalar():
                raise FileInUse(f"The batch {used} reads this file: cancel it, or let it end.")
            db.execute(sa.text("DELETE FROM job_files WHERE id = :id"), {"id": name})

    def outdated_files(self, now: float) -> list[StoredFile]:
        """Those whose time is over."""
        query = f"SELECT {_FILE_FIELDS} FROM job_files WHERE expires_at <= :now"
        with self._db.reading() as db:
            rows = db.execute(sa.text(query), {"now": int(now)}).mappings().all()
        return [_to_file(row) for row in rows]

    def known_files(self) -> dict[str, int]:
        """The bytes of every file, by id."""
        with self._db.reading() as db:
            rows = db.execute(sa.text("SELECT id, bytes FROM job_files")).all()
        return {row[0]: row[1] for row in rows}

    # Batches.

    def add_batch(self, batch: Batch) -> None:
        """Enter it; raises `InvalidRequest` if its input is gone meanwhile."""
        with self._db.writing() as db:
            query = "SELECT 1 FROM job_files WHERE id = :id AND tenant = :tenant"
            wanted = {"id": batch.input_file, "tenant": batch.tenant}
            if db.execute(sa.text(query), wanted).scalar() is None:
                raise InvalidRequest(f"There is no file {batch.input_file}.", param="input_file_id")
            db.execute(
                sa.text(
                    "INSERT INTO job_batches (id, tenant, status, input_file, born, facts)"
                    " VALUES (:id, :tenant, :status, :input_file, :born, :facts)"
                ),
                _batch_row(batch) | {"born": _moment()},
            )

    def batch(self, name: str, tenant: str | None = None) -> Batch:
        """Raises `NotFound`, with `tenant` also for a batch of somebody else."""
        with self._db.reading() as db:
            return _find_batch(db, name, tenant)

    def batches(self, tenant: str, page: Page) -> list[Batch]:
        """The tenant's batches, by age; one more than the limit if there are more."""
        return [_to_batch(row) for row in self._page("job_batches", "facts", tenant, page)]

    def open_batches(self) -> list[str]:
        """Those that are not finished, oldest first."""
        query = f"SELECT id FROM job_batches WHERE {_OPEN} ORDER BY born, id"
        with self._db.reading() as db:
            return list(db.execute(sa.text(query)).scalars())

    def change(self, name: str, step: Callable[[Batch], Batch]) -> Batch:
        """Let `step` make the next value of a batch; whatever it raises leaves all as it is."""
        with self._db.writing() as db:
            after = step(_find_batch(db, name, lock=self._db.for_update))
            _write_batch(db, after)
            return after

    # Results.

    def done_lines(self, batch: str) -> set[int]:
        """Lines of the input that have a result."""
        query = "SELECT line FROM job_results WHERE batch = :batch"
        with self._db.reading() as db:
            return set(db.execute(sa.text(query), {"batch": batch}).scalars())

    def add_results(self, name: str, results: Sequence[Result]) -> Batch:
        """Keep results and count them. A line that has one already keeps it: each counts once."""
        with self._db.writing() as db:
            batch = _find_batch(db, name, lock=self._db.for_update)
            if batch.final:
                return batch
            fresh = [result for result in results if _enter_result(db, name, result)]
            batch = _counted(batch, fresh)
            _write_batch(db, batch)
            return batch

    def results(self, batch: str) -> Iterator[tuple[int, bool, str]]:
        """Line, success and text of every result, in the order of the lines."""
        query = "SELECT line, ok, text FROM job_results WHERE batch = :batch ORDER BY line"
        with self._db.reading() as db:
            for row in db.execute(sa.text(query), {"batch": batch}):
                yield row[0], bool(row[1]), row[2]

    def finish(
        self, name: str, files: Sequence[StoredFile], step: Callable[[Batch], Batch]
    ) -> Batch:
        """In one go: the output files are known, the batch is final, its results are let go."""
        with self._db.writing() as db:
            after = step(_find_batch(db, name, lock=self._db.for_update))
            for file in files:
                _enter_file(db, file)
            _write_batch(db, after)
            db.execute(sa.text("DELETE FROM job_results WHERE batch = :batch"), {"batch": name})
        self._db.shrink()
        return after

    def _page(
        self,
        table: str,
        fields: str,
        tenant: str,
        page: Page,
        wanted: str = "",
        values: dict[str, Any] | None = None,
    ) -> Sequence[Any]:
        sense, order = ("<", "DESC") if page.descending else (">", "ASC")
        given = {"tenant": tenant, "limit": page.limit + 1, **(values or {})}
        with self._db.reading() as db:
            if page.after is not None:
                last = f"SELECT born FROM {table} WHERE id = :after AND tenant = :tenant"
                place = {"after": page.after, "tenant": tenant}
                since = db.execute(sa.text(last), place).scalar()
                if since is None:
                    raise InvalidRequest(f"There is no object {page.after}.", param="after")
                wanted += f" AND (born, id) {sense} (:since, :after)"
                given |= {"since": since, "after": page.after}
            query = (
                f"SELECT {fields} FROM {table} WHERE tenant = :tenant{wanted}"
                f" ORDER BY born {order}, id {order} LIMIT :limit"
            )
            return db.execute(sa.text(query), given).mappings().all()


def _moment() -> int:
    """Microseconds: the order of what came within one second."""
    return time.time_ns() // 1000


def _counted(batch: Batch, fresh: Sequence[Result]) -> Batch:
    good = sum(result.ok for result in fresh)
    old = batch.counts
    counts = Counts(
        total=old.total, completed=old.completed + good, failed=old.failed + len(fresh) - good
    )
    spent = sum((result.spent for result in fresh), batch.spent)
    model = batch.model or next((result.model for result in fresh if result.model), None)
    return structs.replace(batch, counts=counts, spent=spent, model=model)


def _enter_file(db: sa.Connection, file: StoredFile) -> None:
    values = ", ".join(f":{field.strip()}" for field in _FILE_FIELDS.split(","))
    db.execute(
        sa.text(
            f"INSERT INTO job_files ({_FILE_FIELDS}, born) VALUES ({values}, :born)"
            " ON CONFLICT DO NOTHING"
        ),
        structs.asdict(file) | {"born": _moment()},
    )


def _enter_result(db: sa.Connection, batch: str, result: Result) -> bool:
    done = db.execute(
        sa.text(
            "INSERT INTO job_results (batch, line, ok, text) VALUES (:batch, :line, :ok, :text)"
            " ON CONFLICT DO NOTHING"
        ),
        {"batch": batch, "line": result.line, "ok": int(result.ok), "text": result.text},
    )
    return done.rowcount == 1


def _find_batch(
    db: sa.Connection, name: str, tenant: str | None = None, *, lock: str = ""
) -> Batch:
    query = f"SELECT tenant, facts FROM job_batches WHERE id = :id{lock}"
    row = db.execute(sa.text(query), {"id": name}).mappings().first()
    if row is None or tenant not in (None, row["tenant"]):
        raise NotFound(f"There is no batch {name}.", param="batch_id")
    return _to_batch(row)


def _write_batch(db: sa.Connection, batch: Batch) -> None:
    db.execute(
        sa.text("UPDATE job_batches SET status = :status, facts = :facts WHERE id = :id"),
        _batch_row(batch),
    )


def _batch_row(batch: Batch) -> dict[str, Any]:
    return {
        "id": batch.id,
        "tenant": batch.tenant,
        "status": batch.status,
        "input_file": batch.input_file,
        "facts": msgspec.json.encode(batch).decode(),
    }


def _to_batch(row: Any) -> Batch:
    return msgspec.json.decode(row["facts"], type=Batch)


def _to_file(row: Any) -> StoredFile:
    return StoredFile(**row)
