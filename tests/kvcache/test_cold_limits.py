"""Who goes from the disk when it is full, and what happens when it refuses."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kvcache.cold_blocks import (
    PRINT,
    SECONDS,
    Block,
    chain,
    files,
    gives,
    opened,
    put_all,
)

from ai_assistant.kvcache.cold import BlockId, ColdStore, daily, room, writer
from ai_assistant.kvcache.cold.eviction import victims
from ai_assistant.kvcache.cold.shelf import Shelved


def shelved(name: str, parent: str, used: float, *, pinned: bool = False) -> Shelved:
    block = BlockId(parent.encode().ljust(16), name.encode().ljust(16), 1)
    return Shelved("01", block, 10, used, pinned)


def chosen(*blocks: Shelved, excess: int = 1000, kept: str = "") -> str:
    names = {name.encode().ljust(16) for name in kept}
    found = victims(blocks, excess, names)
    return "".join(one.block.name.decode().strip() for one in found)


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ([("a", "", 2), ("b", "", 1), ("c", "", 3)], "bac"),
        ([("a", "", 1), ("b", "a", 1), ("c", "b", 1)], "cba"),
        ([("a", "", 1), ("b", "a", 2), ("c", "b", 3)], "cba"),
        ([("c", "b", 1), ("b", "a", 1), ("a", "", 9)], "cba"),
        ([("a", "", 1), ("b", "a", 9), ("c", "a", 2), ("x", "", 3)], "cxba"),
        ([("a", "b", 1), ("b", "a", 1)], "ba"),
    ],
    ids=["age", "tail first", "young tail", "old tail", "two branches", "damaged circle"],
)
def test_the_order_of_going(blocks: list[tuple[str, str, float]], expected: str) -> None:
    assert sorted(chosen(*(shelved(*one) for one in blocks))) == sorted(expected)
    if expected != "ba":
        assert chosen(*(shelved(*one) for one in blocks)) == expected


def test_no_more_go_than_needed() -> None:
    assert chosen(shelved("a", "", 1), shelved("b", "", 2), excess=10) == "a"
    assert chosen(shelved("a", "", 1), excess=0) == ""


def test_pinned_and_kept_ones_stay_with_all_before_them() -> None:
    blocks = [
        shelved("a", "", 1),
        shelved("b", "a", 1, pinned=True),
        shelved("c", "b", 1),
        shelved("x", "", 5),
        shelved("y", "x", 5),
        shelved("z", "x", 5),
    ]
    assert chosen(*blocks, kept="y") == "cz"


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5), st.booleans()), max_size=30))
def test_no_block_goes_before_those_behind_it(rows: list[tuple[int, float, bool]]) -> None:
    blocks = [
        shelved(str(number), str(parent) if parent < number else "", used, pinned=pinned)
        for number, (parent, used, pinned) in enumerate(rows)
    ]
    order = [one.block.name for one in victims(blocks, 10_000, [])]
    for one in blocks:
        assert not (one.pinned and one.block.name in order)
        if one.block.name not in order:
            assert one.block.parent not in order
        elif one.block.parent in order:
            assert order.index(one.block.name) < order.index(one.block.parent)


def on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in files(folder))


FILE = 1000 + 120
"""A little more than a test's block takes."""


def test_the_budget_is_kept_by_all_models_together(tmp_path: Path) -> None:
    budget = 10 * FILE
    with opened(tmp_path, budget=budget) as one:
        put_all(one, *(Block(number) for number in range(8)))
    with opened(tmp_path, budget=budget, fingerprint=b"other") as two:
        for number in range(8, 20):
            put_all(two, Block(number))
            assert on_disk(tmp_path) <= budget
        assert two.status.blocks >= 9
        assert two.has(Block(19).name)


def test_a_block_larger_than_the_budget_is_not_kept(tmp_path: Path) -> None:
    with opened(tmp_path, budget=3 * FILE) as store:
        put_all(store, Block(1))
        assert not Block(2, size=4000).put(store)
        assert store.has(Block(1).name)


def test_the_least_recently_used_goes_first_also_after_a_restart(tmp_path: Path) -> None:
    old, used, new = Block(1), Block(2), Block(3)
    with opened(tmp_path) as store:
        put_all(store, used, old)
        store.touch([used.name, b"unknown"])
        assert store.flush(SECONDS)
    with opened(tmp_path, budget=3 * FILE - 500) as store:
        put_all(store, new)
        assert not store.has(old.name)
        assert gives(store, used, new)


def test_a_chain_goes_from_its_tail(tmp_path: Path) -> None:
    blocks = chain(4)
    with opened(tmp_path, budget=5 * FILE - 500) as store:
        put_all(store, *blocks)
        put_all(store, Block(100))
        assert not store.has(blocks[3].name)
        assert gives(store, *blocks[:3])


def test_the_chain_of_a_new_block_stays(tmp_path: Path) -> None:
    blocks = chain(3)
    with opened(tmp_path, budget=3 * FILE - 500) as store:
        put_all(store, blocks[0], blocks[1])
        assert blocks[2].put(store)
        assert store.flush(SECONDS)
        assert not store.has(blocks[2].name)
        assert gives(store, *blocks[:2])


def test_pinned_blocks_stay_also_after_a_restart(tmp_path: Path) -> None:
    pinned = Block(1)
    with opened(tmp_path) as store:
        assert pinned.put(store, pinned=True)
    with opened(tmp_path, budget=3 * FILE) as store:
        put_all(store, *(Block(number) for number in range(2, 8)))
        assert gives(store, pinned)
        store.pin_only([])
        put_all(store, *(Block(number) for number in range(8, 14)))
        assert not store.has(pinned.name)


def test_pins_can_be_set_on_what_is_there(tmp_path: Path) -> None:
    blocks = [Block(number) for number in range(3)]
    with opened(tmp_path) as store:
        put_all(store, *blocks)
        assert blocks[0].put(store, pinned=True)
        assert store.flush(SECONDS)
        assert [path.name.endswith(".pinned") for path in files(tmp_path)].count(True) == 1
        store.pin_only([blocks[1].name, blocks[2].name])
        assert store.flush(SECONDS)
        assert [path.name.endswith(".pinned") for path in files(tmp_path)].count(True) == 2
        assert gives(store, *blocks)


def test_a_block_that_is_being_fetched_stays(tmp_path: Path) -> None:
    blocks = chain(4)
    with opened(tmp_path, budget=5 * FILE - 500) as store:
        put_all(store, *blocks)
        fetch = store.fetch([block.name for block in blocks])
        put_all(store, Block(100))
        assert not store.has(Block(100).name)
        for _ in blocks:
            assert fetch.next(SECONDS) is not None
        put_all(store, Block(100))
        assert store.has(Block(100).name)


def test_the_days_limit_outlives_a_restart(tmp_path: Path) -> None:
    with opened(tmp_path, daily=3 * FILE) as store:
        put_all(store, Block(1), Block(2))
    with opened(tmp_path, daily=3 * FILE, fingerprint=b"other") as store:
        put_all(store, Block(3))
        assert not Block(4).put(store)


def test_a_new_day_has_its_own_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path, daily=FILE) as store:
        put_all(store, Block(1))
        assert not Block(2).put(store)
        monkeypatch.setattr(daily, "today", lambda: "2999-01-01")
        put_all(store, Block(2))
        assert 1000 < store.status.written_today < FILE


@pytest.mark.parametrize("text", [b"", b"{}", b'{"day": 1, "bytes": "x"}', b"\xff"])
def test_a_damaged_count_of_the_day_begins_anew(tmp_path: Path, text: bytes) -> None:
    (tmp_path / PRINT.hex()).mkdir()
    (tmp_path / PRINT.hex() / "written.json").write_bytes(text)
    with opened(tmp_path) as store:
        put_all(store, Block(1))
        assert store.status.written_today > 1000


class FullDisk:
    """`os.write` for a disk that has room for so many bytes more."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._write = os.write

    def __call__(self, handle: int, data: memoryview) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self._write(handle, data[: self.room])
        self.room -= written
        return written


def no_disk(handle: int) -> None:
    raise OSError(errno.EIO, "Input/output error")


def test_a_full_disk_costs_the_block_and_a_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path) as store:
        put_all(store, Block(1))
        monkeypatch.setattr(os, "write", FullDisk(500))
        assert Block(2).put(store)
        assert store.flush(SECONDS)
        assert not store.has(Block(2).name)
        monkeypatch.undo()
        assert not Block(3).put(store)
        assert len(files(tmp_path)) == 1
        assert list(tmp_path.glob("*/.tmp-*")) == []
        assert gives(store, Block(1))
    assert len(caplog.records) == 1
    assert "No space left" in caplog.text


def test_writing_goes_on_after_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "REST_SECONDS", 0.0)
    with opened(tmp_path) as store:
        with monkeypatch.context() as full:
            full.setattr(os, "fsync", no_disk)
            assert Block(2).put(store)
            assert store.flush(SECONDS)
        put_all(store, Block(2))
        assert gives(store, Block(2))


def test_the_folder_may_be_deleted_under_a_store(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        put_all(store, Block(1))
        for path in (tmp_path / PRINT.hex()).iterdir():
            path.unlink()
        (tmp_path / PRINT.hex()).rmdir()
        put_all(store, Block(2))
        assert gives(store, Block(2))
        assert not gives(store, Block(1))


def test_the_queue_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "QUEUE_BYTES", 2500)
    with opened(tmp_path) as store:
        with store._lock:  # pyright: ignore[reportPrivateUsage]
            assert Block(1).put(store)
            assert Block(2).put(store)
            assert not Block(3).put(store)
        assert store.flush(SECONDS)
        with store._lock:  # pyright: ignore[reportPrivateUsage]
            assert Block(4, size=5000).put(store)


def test_what_others_write_is_seen_while_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "SURVEY_SECONDS", 0.0)
    with opened(tmp_path) as one, opened(tmp_path) as two:
        put_all(one, Block(1))
        assert not two.has(Block(1).name)
        put_all(two, Block(2))
        assert gives(two, Block(1))


def test_a_scan_opens_no_file(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        put_all(store, Block(1))
    files(tmp_path)[0].write_bytes(b"not a block at all")
    store = ColdStore(tmp_path, PRINT, budget=1 << 30, daily=1 << 30)
    assert store.wait_ready(SECONDS)
    assert store.has(Block(1).name)
    store.close(SECONDS)
