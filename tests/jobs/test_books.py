"""What is kept of jobs: exactly once, for its tenant only, all or nothing."""

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.fakes.full_disk import FullDisk
from tests.jobs.bench_house import House

from ai_assistant.jobs.books import Books
from ai_assistant.jobs.database import Database
from ai_assistant.jobs.entries import Page, StoredFile
from ai_assistant.jobs.errors import FileInUse, JobsDiskFull, JobsElsewhere, JobsUnavailable
from ai_assistant.jobs.place import FolderLock, has_open_batches
from ai_assistant.jobs.results import Result
from ai_assistant.jobs.states import Spent, become
from ai_assistant.protocol.errors import InvalidRequest, NotFound


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    found = House(tmp_path)
    yield found
    found.database.close()


def result(line: int, *, ok: bool = True) -> Result:
    return Result(line=line, ok=ok, text=f"text {line}", spent=Spent(input=2, output=1), model="m")


@given(st.lists(st.lists(st.integers(1, 30), max_size=8), max_size=8))
@settings(max_examples=20, deadline=None)
def test_each_line_counts_once_however_often_it_comes(
    tmp_path_factory: pytest.TempPathFactory, portions: list[list[int]]
) -> None:
    house = House(tmp_path_factory.mktemp("books"))
    name = house.add(["x"])
    for portion in portions:
        house.books.add_results(name, [result(n, ok=n % 2 == 0) for n in portion])
    lines = {n for portion in portions for n in portion}
    batch = house.books.batch(name)
    assert batch.counts.completed == sum(n % 2 == 0 for n in lines)
    assert batch.counts.failed == sum(n % 2 for n in lines)
    assert batch.spent == Spent(input=2 * len(lines), output=len(lines))
    assert house.books.done_lines(name) == lines
    assert [row[0] for row in house.books.results(name)] == sorted(lines)
    house.database.close()


def test_threads_do_not_lose_each_others_results(house: House) -> None:
    name = house.add(["x"])

    def write(first: int) -> None:
        for n in range(first, first + 20):
            house.books.add_results(name, [result(n)])

    threads = [threading.Thread(target=write, args=(k * 10,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert house.books.batch(name).counts.completed == 50


def test_nobody_sees_what_is_another_tenants(house: House) -> None:
    name = house.add(["x"], tenant="alice")
    file = house.books.batch(name).input_file
    assert house.books.batch(name, "alice").id == name
    assert [f.id for f in house.books.files("alice", Page(limit=5), None)] == [file]
    for look in (
        lambda: house.books.batch(name, "bob"),
        lambda: house.books.file("bob", file),
        lambda: house.books.drop_file("bob", file),
    ):
        with pytest.raises(NotFound):
            look()
    assert house.books.files("bob", Page(limit=5), None) == []
    assert house.books.batches("bob", Page(limit=5)) == []
    with pytest.raises(InvalidRequest):
        house.books.batches("bob", Page(limit=5, after=name))
    stolen = structs.replace(house.books.batch(name), id="b", tenant="bob")
    with pytest.raises(InvalidRequest, match="no file"):
        house.books.add_batch(stolen)


@given(st.integers(0, 12), st.integers(1, 5), st.booleans())
@settings(max_examples=15, deadline=None)
def test_pages_give_each_object_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, count: int, limit: int, descending: bool
) -> None:
    books = Books(Database(tmp_path_factory.mktemp("pages")))
    ids = [f"file-{i:02}" for i in range(count)]
    for name in ids:  # All in one second.
        books.add_file(
            StoredFile(id=name, tenant="", purpose="p", filename="f", bytes=1, created_at=5)
        )
    found: list[str] = []
    after = None
    while True:
        page = books.files("", Page(limit=limit, after=after, descending=descending), None)
        found += [file.id for file in page[:limit]]
        if len(page) <= limit:
            break
        after = found[-1]
    assert found == (ids[::-1] if descending else ids)


def test_a_file_that_a_batch_reads_stays(house: House) -> None:
    name = house.add(["x"])
    file = house.books.batch(name).input_file
    with pytest.raises(FileInUse, match=name):
        house.books.drop_file("", file)
    house.books.change(name, lambda b: become(b, "failed", 0))
    house.books.drop_file("", file)
    with pytest.raises(NotFound):
        house.books.file("", file)


def test_a_full_disk_is_named_and_leaves_all_as_it_was(house: House) -> None:
    name = house.add(["x"])
    house.books.add_results(name, [result(1)])
    disk = FullDisk(house.database)
    disk.fill(spare=1)
    big = Result(line=2, ok=True, text="x" * 100_000)
    with pytest.raises(JobsDiskFull, match="free some space"):
        house.books.add_results(name, [big])
    assert house.books.batch(name).counts.completed == 1
    disk.clear()
    house.books.add_results(name, [big])
    assert house.books.batch(name).counts.completed == 2


def test_what_is_finished_gives_its_room_back(house: House, tmp_path: Path) -> None:
    name = house.add(["x"])
    texts = [Result(line=n, ok=True, text="x" * 10_000) for n in range(300)]
    house.books.add_results(name, texts)
    with house.database.reading() as db:
        full = db.exec_driver_sql("PRAGMA page_count").scalar() or 0
    house.books.finish(name, [], lambda b: become(b, "failed", 0))
    with house.database.reading() as db:
        assert (db.exec_driver_sql("PRAGMA page_count").scalar() or 0) < full / 10


def test_the_list_is_for_its_owner_only(house: House, tmp_path: Path) -> None:
    house.add(["x"])
    modes = {p.name: stat.S_IMODE(os.stat(p).st_mode) for p in tmp_path.glob("jobs.db*")}
    assert set(modes.values()) == {0o600}, modes


def test_a_damaged_list_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "jobs.db").write_bytes(b"this is no database, whatever its name may say" * 100)
    with pytest.raises(JobsUnavailable, match="damaged"):
        Database(tmp_path)
    assert has_open_batches(tmp_path), "it must be opened, to be told of"


def test_a_newer_list_is_not_touched(tmp_path: Path) -> None:
    Database(tmp_path).close()
    with sqlite3.connect(tmp_path / "jobs.db") as db:
        db.execute("INSERT INTO job_schema VALUES (99)")
    db.close()
    with pytest.raises(JobsUnavailable, match="update"):
        Database(tmp_path)


def test_a_database_that_cannot_be_reached_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(JobsUnavailable, match=r"jobs\.database"):
        Database(tmp_path, "postgresql://nobody@127.0.0.1:1/none")


def test_open_batches_are_seen_without_opening_anything(house: House, tmp_path: Path) -> None:
    assert not has_open_batches(tmp_path / "elsewhere")
    assert not has_open_batches(tmp_path)
    name = house.add(["x"])
    assert has_open_batches(tmp_path)
    house.books.change(name, lambda b: become(b, "failed", 0))
    assert not has_open_batches(tmp_path)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    first = FolderLock(tmp_path)
    with pytest.raises(JobsElsewhere):
        FolderLock(tmp_path)
    first.release()
    FolderLock(tmp_path).release()
