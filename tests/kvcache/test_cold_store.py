"""The cold tier as the engine sees it: what was put comes back, also in another process's life."""

import os
import stat
import subprocess
import sys
from array import array
from pathlib import Path

import pytest
from tests.kvcache.cold_blocks import (
    PRINT,
    ROOT,
    SECONDS,
    Block,
    chain,
    fetched,
    files,
    gives,
    opened,
    put_all,
)

from ai_assistant.kvcache.cold import BlockId, ColdStore

posix = pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")


def test_what_was_put_comes_back(tmp_path: Path) -> None:
    blocks = chain(5)
    with opened(tmp_path) as store:
        put_all(store, *blocks)
        assert gives(store, *blocks)


def test_it_outlives_the_process(tmp_path: Path) -> None:
    blocks = chain(3)
    with opened(tmp_path) as store:
        put_all(store, *blocks)
    with opened(tmp_path) as store:
        assert store.children(ROOT) == [blocks[0].id]
        assert store.children(blocks[0].name) == [blocks[1].id]
        assert store.children(blocks[2].name) == []
        assert store.tokens(blocks[1].id) == blocks[1].tokens
        assert store.size(blocks[1].name) == 1000
        assert gives(store, *blocks)


def test_another_model_finds_nothing(tmp_path: Path) -> None:
    block = Block(1)
    with opened(tmp_path) as store, opened(tmp_path, fingerprint=b"other") as other:
        put_all(store, block)
        assert not other.has(block.name)
        assert other.children(ROOT) == []
        assert fetched(other, block) == []
    with opened(tmp_path, fingerprint=b"other") as other:
        assert not other.has(block.name)


def test_a_queued_block_is_there_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as store:
        block = Block(1)
        with store._lock:  # pyright: ignore[reportPrivateUsage]
            assert block.put(store)
            assert store.has(block.name)
            assert store.children(ROOT) == [block.id]
            assert store.size(block.name) == 0
            assert store.status.queued_bytes == 1000
        assert gives(store, block)
        assert store.flush(SECONDS)
        assert store.status.queued_bytes == 0


def test_a_block_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    block = Block(1)
    with opened(tmp_path) as store:
        put_all(store, block)
        written = store.status.written_today
        put_all(store, block)
        assert store.status.written_today == written > 1000


def test_a_longer_tail_takes_the_place_of_a_shorter_one(tmp_path: Path) -> None:
    short, long = Block(1), Block(2)
    with opened(tmp_path) as store:
        put_all(store, short)
        assert long.put(store, replaces=short.name)
        assert store.flush(SECONDS)
        assert not store.has(short.name)
        assert len(files(tmp_path)) == 1
        assert gives(store, long)


def test_a_pinned_block_is_not_replaced(tmp_path: Path) -> None:
    short, long = Block(1), Block(2)
    with opened(tmp_path) as store:
        assert short.put(store, pinned=True)
        assert long.put(store, replaces=short.name)
        assert store.flush(SECONDS)
        assert store.has(short.name)


def test_what_is_forgotten_is_gone(tmp_path: Path) -> None:
    written, queued = Block(1), Block(2)
    with opened(tmp_path) as store:
        put_all(store, written)
        with store._lock:  # pyright: ignore[reportPrivateUsage]
            queued.put(store)
            store.forget(queued.name)
            store.forget(written.name)
        assert not store.has(written.name)
        assert not store.has(queued.name)
        assert store.tokens(queued.id) is None
        assert store.flush(SECONDS)
        assert files(tmp_path) == []


def test_a_wrong_count_of_tokens_is_the_callers_mistake(tmp_path: Path) -> None:
    block = Block(1)
    with opened(tmp_path) as store, pytest.raises(ValueError, match="3 tokens for a block of 4"):
        store.put(BlockId(ROOT, block.name, 4), block.tokens, block.state)


def test_tokens_of_a_checkpoint_may_be_many(tmp_path: Path) -> None:
    tokens = array("i", range(5000))
    block = Block(1)
    checkpoint = BlockId(ROOT, block.name, 5000)
    with opened(tmp_path) as store:
        assert store.put(checkpoint, tokens, block.state)
    with opened(tmp_path) as store:
        assert store.tokens(checkpoint) == tokens
        assert store.tokens(checkpoint) is store.tokens(checkpoint)


@posix
def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    with opened(folder, about={"model": "m"}) as store:
        put_all(store, Block(1))
    paths = list(folder.rglob("*"))
    assert len(paths) == 4
    for path in [folder, *paths]:
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_two_stores_share_a_folder(tmp_path: Path) -> None:
    blocks = chain(4)
    with opened(tmp_path) as one, opened(tmp_path) as two:
        for number, block in enumerate(blocks):
            assert block.put((one, two)[number % 2])
        assert one.flush(SECONDS)
        assert two.flush(SECONDS)
        one.forget(blocks[0].name)
        assert one.flush(SECONDS)
        put_all(two, blocks[0])
    with opened(tmp_path) as store:
        assert gives(store, *blocks)


def test_a_file_that_another_process_took_away_is_a_miss(tmp_path: Path) -> None:
    blocks = chain(2)
    with opened(tmp_path) as store:
        put_all(store, *blocks)
        files(tmp_path)[0].unlink()
        assert len(fetched(store, *blocks)) < 2
        assert store.status.refused == 0
        assert store.status.blocks == 1


def test_a_place_that_cannot_be_written_turns_it_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with opened(blocked / "cache") as store:
        assert not Block(1).put(store)
        assert not store.has(Block(1).name)
        assert store.flush(SECONDS)
    assert len(caplog.records) == 1


def test_nothing_is_kept_without_a_budget(tmp_path: Path) -> None:
    with opened(tmp_path, budget=0) as store:
        assert not Block(1).put(store)


def test_close_finishes_what_is_queued_and_then_refuses(tmp_path: Path) -> None:
    block = Block(1)
    with opened(tmp_path) as store:
        assert block.put(store)
        store.close(SECONDS)
        assert len(files(tmp_path)) == 1
        assert not Block(2).put(store)
        assert store.fetch([block.name]).failed


WRITES_FOREVER = """
import sys
from pathlib import Path
from tests.kvcache.cold_blocks import Block, opened
with opened(Path(sys.argv[1])) as store:
    for number in range(100_000):
        Block(number, size=300_000).put(store)
        if store.status.blocks > 3:
            print(flush=True)
"""


@posix
def test_a_killed_writer_leaves_whole_blocks_only(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", WRITES_FOREVER, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdout
    child.stdout.readline()
    child.kill()
    child.wait()
    child.stdout.close()
    (tmp_path / PRINT.hex() / f".tmp-{child.pid}-999").write_bytes(b"torn")
    with opened(tmp_path) as store:
        blocks = [Block(number, size=300_000) for number in range(len(files(tmp_path)))]
        assert len(blocks) > 3
        assert gives(store, *blocks)
        assert store.status.refused == 0
    assert list(tmp_path.glob("*/.tmp-*")) == []


def test_temporary_files_of_the_living_stay(tmp_path: Path) -> None:
    home = tmp_path / PRINT.hex()
    home.mkdir()
    living = home / f".tmp-{os.getppid()}-1"
    living.touch()
    with opened(tmp_path):
        assert living.exists()
    os.utime(living, (0, 0))
    with opened(tmp_path):
        assert not living.exists()


def test_a_fingerprint_has_a_length(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 to 32 bytes"):
        ColdStore(tmp_path, b"", budget=1, daily=1)
