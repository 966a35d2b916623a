"""Reading in the background: all of a file, at the lowest priority, and never into the last
memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ai_assistant.engine import readahead_advice as advice


def cold_file(path: Path, size: int) -> Path:
    path.write_bytes(os.urandom(size))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if advice.resident(str(path)) > 0.2:
        pytest.skip("this file system does not drop pages")
    return path


def test_a_process_of_its_own_reads_the_file(tmp_path: Path) -> None:
    path = cold_file(tmp_path / "next", 24 << 20)
    command = [sys.executable, "-m", "ai_assistant.engine.readahead", str(path)]
    assert subprocess.run(command, check=False).returncode == 0
    assert advice.resident(str(path)) > 0.9


def test_the_last_memory_is_left_alone(tmp_path: Path) -> None:
    path = cold_file(tmp_path / "next", 24 << 20)
    code = (
        "import sys; from ai_assistant.engine.readahead import main; "
        "sys.exit(main(sys.argv[1], 1 << 60))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 1
    assert advice.resident(str(path)) < 0.2
