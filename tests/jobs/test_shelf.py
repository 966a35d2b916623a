"""Contents of files: whole or not at all."""

import errno
import os
import stat
from pathlib import Path

import pytest

from ai_assistant.jobs.errors import JobsDiskFull
from ai_assistant.jobs.shelf import Shelf, derived_file_id, new_file_id
from ai_assistant.protocol.errors import NotFound


def test_what_is_kept_is_whole_and_private(tmp_path: Path) -> None:
    shelf, name = Shelf(tmp_path / "files"), new_file_id()
    with shelf.begin(name) as scratch:
        scratch.write(b"one")
        assert not shelf.path(name).exists()
        scratch.write(b"two")
        scratch.keep()
    assert shelf.path(name).read_bytes() == b"onetwo"
    assert stat.S_IMODE(shelf.path(name).stat().st_mode) == 0o600
    assert os.listdir(tmp_path / "files") == [name]


def test_what_is_not_kept_leaves_nothing(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    with shelf.begin(new_file_id()) as scratch:
        scratch.write(b"x" * 1_000_000)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "name", ["", "..", "../x", "file-../../../../etc/passwd", "file-" + "g" * 24, "jobs.db"]
)
def test_no_name_leads_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFound):
        Shelf(tmp_path).path(name)


def test_names_cannot_be_guessed_and_derived_ones_are_stable() -> None:
    assert len({new_file_id() for _ in range(100)}) == 100
    assert derived_file_id("batch_1", "output") == derived_file_id("batch_1", "output")
    assert derived_file_id("batch_1", "output") != derived_file_id("batch_1", "error")


def test_a_disk_that_fills_up_is_named_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(tmp_path)

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with shelf.begin(new_file_id()) as one:
        one.write(b"data")
        with pytest.raises(JobsDiskFull, match="free some space"):
            one.keep()
    assert os.listdir(tmp_path) == []


def test_a_disk_that_is_nearly_full_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ai_assistant.jobs.shelf.RESERVE", 1 << 62)
    with pytest.raises(JobsDiskFull):
        Shelf(tmp_path).begin(new_file_id())


def test_what_a_crash_left_is_cleared_away_and_nothing_else(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    kept, lost, torn = new_file_id(), new_file_id(), f"{new_file_id()}.0a0a0a0a.part"
    for name in (kept, lost, torn, "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    shelf.tidy({kept})
    assert len(os.listdir(tmp_path)) == 4, "they are young: somebody may be writing them"
    shelf.tidy({kept}, older_than=0)
    assert sorted(os.listdir(tmp_path)) == sorted([kept, "notes.txt"])
