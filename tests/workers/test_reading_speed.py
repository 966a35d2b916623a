"""A disk is timed the way the engine reads from it, and the page cache is left as it was."""

import os
from pathlib import Path

import pytest

from ai_assistant.engine import readahead_advice as advice
from ai_assistant.engine.readahead_stream import CHUNK
from ai_assistant.workers import beyond
from ai_assistant.workers.reading import ENOUGH, reading_speed

SIZE = (ENOUGH + 4) * CHUNK


@pytest.fixture
def cold(tmp_path: Path) -> Path:
    """A file that lies on a disk and not in memory."""
    path = tmp_path / "model.gguf"
    with path.open("wb") as file:
        file.write(os.urandom(1 << 20) * (SIZE >> 20))
        file.flush()
        os.fsync(file.fileno())
        advice.forget(file.fileno(), 0, SIZE)
    if advice.resident(str(path)) > 0.01:
        pytest.skip("the file system below the tests' folder is always in memory")
    return path


def test_file_is_read_and_its_pages_are_given_back(cold: Path) -> None:
    speed = reading_speed(str(cold), 0.4)
    assert speed is not None
    assert 1e6 < speed < 1e12
    assert advice.resident(str(cold)) < 0.05


def test_what_was_in_memory_stays_there(cold: Path) -> None:
    with cold.open("rb") as file:
        file.read(2 * CHUNK)
    before = advice.resident(str(cold), 0, 2 * CHUNK)
    assert reading_speed(str(cold), 0.2) is not None
    assert advice.resident(str(cold), 0, 2 * CHUNK) == before == 1.0


def test_file_in_memory_says_nothing_of_its_disk(cold: Path) -> None:
    cold.read_bytes()
    assert reading_speed(str(cold), 0.2) is None


def test_small_or_missing_file_says_nothing(tmp_path: Path) -> None:
    small = tmp_path / "small.gguf"
    small.write_bytes(bytes(CHUNK))
    assert reading_speed(str(small), 0.1) is None
    assert reading_speed(str(tmp_path / "none"), 0.1) is None


def test_disk_of_a_model_in_memory_is_measured_past_the_cache(cold: Path) -> None:
    cold.read_bytes()
    speed = beyond.disk_speed(str(cold))
    assert speed is None or speed > 1e5
