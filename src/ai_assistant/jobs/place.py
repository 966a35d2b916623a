"""Where jobs lie on this machine, and a look that costs nothing: is there anything to do?"""

import contextlib
import os
import sqlite3
from pathlib import Path

from ai_assistant.jobs.errors import JobsElsewhere
from ai_assistant.jobs.states import FINAL
from ai_assistant.protocol.files import lock_alone

FILE_NAME = "jobs.db"
_LOCK_NAME = "lock"


def has_open_batches(folder: Path) -> bool:
    """Whether an unfinished batch lies there. Opens no library and creates no file."""
    path = folder / FILE_NAME
    if not path.exists():
        return False
    final = ", ".join(f"'{status}'" for status in sorted(FINAL))
    query = f"SELECT 1 FROM job_batches WHERE status NOT IN ({final}) LIMIT 1"
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            return db.execute(query).fetchone() is not None
    except sqlite3.Error:
        return True  # Opening it properly will say what is wrong.


class FolderLock:
    """One process at a time works on a folder's jobs. Ends with the process, however it ends."""

    def __init__(self, folder: Path) -> None:
        """Raises `JobsElsewhere`, and `OSError`."""
        self._file = os.open(folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        if not lock_alone(self._file):
            os.close(self._file)
            raise JobsElsewhere(
                f"Another node works on the jobs in {folder}: send them to it, "
                "or give this one a --data-dir of its own.",
                retry_after=60,
            )

    def release(self) -> None:
        """Let another process have it."""
        os.close(self._file)
