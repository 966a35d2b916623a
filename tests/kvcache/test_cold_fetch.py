"""Fetching: in order, a little ahead, and no further than what is whole."""

from pathlib import Path

import pytest
from tests.kvcache.cold_blocks import (
    SECONDS,
    Block,
    chain,
    fetched,
    files,
    gives,
    opened,
    put_all,
)

from ai_assistant.kvcache.cold import ColdStore, Fetch, quarantine
from ai_assistant.kvcache.cold.fetch import READ_AHEAD


def names(blocks: list[Block]) -> list[bytes]:
    return [block.name for block in blocks]


def wait_for_reads(store: ColdStore, fetch: Fetch, count: int) -> None:
    """Until the reader has read `count` blocks."""
    with store._lock:  # pyright: ignore[reportPrivateUsage]
        assert store._lock.wait_for(lambda: fetch._read >= count, SECONDS)  # pyright: ignore[reportPrivateUsage]


def test_blocks_come_in_the_order_asked_for(tmp_path: Path) -> None:
    blocks = chain(6)
    with opened(tmp_path) as store:
        put_all(store, *blocks)
        assert gives(store, *blocks)
        assert gives(store, *reversed(blocks))
        assert gives(store, blocks[0], blocks[0])
        assert store.status.read_bytes_per_second > 0


def test_no_more_than_two_blocks_are_read_ahead(tmp_path: Path) -> None:
    blocks = chain(5)
    with opened(tmp_path) as store:
        put_all(store, *blocks)
        fetch = store.fetch(names(blocks))
        wait_for_reads(store, fetch, READ_AHEAD)
        for path in files(tmp_path):
            path.unlink()
        for block in blocks[:READ_AHEAD]:
            state = fetch.next(SECONDS)
            assert state is not None
            assert state.tolist() == block.state.tolist()
        while not fetch.failed:
            assert fetch.next(SECONDS) is None
        assert not fetch.done


def test_nothing_yet_is_none_and_not_the_end(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        put_all(store, Block(1))
        with store._lock:  # pyright: ignore[reportPrivateUsage]
            fetch = store.fetch([Block(1).name])
            assert not fetch.done
            assert not fetch.failed
        assert fetch.next(SECONDS) is not None
        assert fetch.done
        assert fetch.next(0) is None


def test_an_empty_fetch_is_done(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        fetch = store.fetch([])
        assert fetch.done
        assert fetch.next(0) is None


def test_an_unknown_block_ends_it_after_what_was_there(tmp_path: Path) -> None:
    known, unknown, last = chain(3)
    with opened(tmp_path) as store:
        put_all(store, known, last)
        assert len(fetched(store, known, unknown, last)) == 1


def test_two_fetches_do_not_wait_for_each_other(tmp_path: Path) -> None:
    blocks = chain(5)
    with opened(tmp_path) as store:
        put_all(store, *blocks)
        slow = store.fetch(names(blocks))
        assert gives(store, *blocks)
        assert slow.next(SECONDS) is not None
        slow.cancel()


def test_a_cancelled_fetch_gives_nothing_and_guards_nothing(tmp_path: Path) -> None:
    blocks = chain(5)
    with opened(tmp_path) as store:
        put_all(store, *blocks)
        fetch = store.fetch(names(blocks))
        assert fetch.next(SECONDS) is not None
        fetch.cancel()
        fetch.cancel()
        assert fetch.failed
        assert fetch.next(0) is None
        assert not any(store._index.guarded(name) for name in names(blocks))  # pyright: ignore[reportPrivateUsage]
        assert gives(store, *blocks)


def test_cancelling_what_is_read_but_not_taken_is_no_success(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        put_all(store, Block(1))
        fetch = store.fetch([Block(1).name])
        wait_for_reads(store, fetch, 1)
        fetch.cancel()
        assert fetch.failed
        assert not fetch.done


def test_close_ends_a_fetch(tmp_path: Path) -> None:
    blocks = chain(5)
    with opened(tmp_path) as store:
        put_all(store, *blocks)
        fetch = store.fetch(names(blocks))
        store.close(SECONDS)
        while not fetch.failed:
            fetch.next(SECONDS)


def test_a_bad_block_is_set_aside_and_a_miss_from_then_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocks = chain(3)
    with opened(tmp_path) as store:
        put_all(store, *blocks)
        bad = next(path for path in files(tmp_path) if blocks[1].name.hex() in path.name[33:])
        data = bytearray(bad.read_bytes())
        data[-1] ^= 1
        bad.write_bytes(data)
        assert len(fetched(store, *blocks)) == 1
        assert not store.has(blocks[1].name)
        assert store.status.refused == 1
        assert [path.name for path, _ in quarantine.contents(tmp_path)] == [
            f"{bad.parent.name}-{bad.name}"
        ]
        put_all(store, blocks[1])
        assert gives(store, *blocks)
    assert len(caplog.records) == 1


def test_bad_tokens_are_set_aside_too(tmp_path: Path) -> None:
    block = Block(1)
    with opened(tmp_path) as store:
        put_all(store, block)
        files(tmp_path)[0].write_bytes(b"torn")
        assert store.tokens(block.id) is None
        assert not store.has(block.name)
        assert store.status.refused == 1


def test_the_quarantine_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [Block(number) for number in range(quarantine.MAX_FILES + 4)]
    with opened(tmp_path) as store:
        put_all(store, *blocks)
        for path in files(tmp_path):
            path.write_bytes(b"torn")
        assert all(store.tokens(block.id) is None for block in blocks)
        assert len(quarantine.contents(tmp_path)) == quarantine.MAX_FILES
        monkeypatch.setattr(quarantine, "MAX_BYTES", 10)
        put_all(store, blocks[0])
        files(tmp_path)[0].write_bytes(b"torn")
        assert store.tokens(blocks[0].id) is None
        assert len(quarantine.contents(tmp_path)) == 2
        assert store.status.refused == quarantine.MAX_FILES + 5
