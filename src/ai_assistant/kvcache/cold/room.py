"""How much may be written: bytes in the folder and bytes in a day, over all processes.

Others write too, so the figures are those of the last survey and our own changes since.
"""

import time
from pathlib import Path

from ai_assistant.kvcache.cold import daily, shelf
from ai_assistant.kvcache.cold.shelf import Shelved

SURVEY_SECONDS = 60.0
_SLACK = 0.05
"""Share of the budget that is freed at once: a survey looks at every file."""


class Room:
    """The folder's limits; `budget` and `per_day` in bytes."""

    def __init__(self, folder: Path, home: Path, budget: int, per_day: int) -> None:
        self.budget = budget
        self.per_day = per_day
        self.bytes = 0
        self._folder = folder
        self._home = home
        self._day = ""
        self._written = 0
        self._surveyed = float("-inf")

    @property
    def written_today(self) -> int:
        """Bytes that all processes wrote today."""
        return self._written if self._day == daily.today() else 0

    @property
    def stale(self) -> bool:
        """Whether a survey is due."""
        return time.monotonic() - self._surveyed >= SURVEY_SECONDS

    def survey(self) -> list[Shelved]:
        """Look at every file's name and size."""
        found = shelf.scan(self._folder)
        self.bytes = sum(one.size for one in found)
        self._day, self._written = daily.today(), shelf.written_today(self._folder)
        self._surveyed = time.monotonic()
        return found

    def allows_today(self, size: int) -> bool:
        """Whether the day's limit leaves that much."""
        return self.written_today + size <= self.per_day

    def missing(self, size: int) -> int:
        """Bytes that must go before `size` bytes fit."""
        return max(0, self.bytes + size - self.budget)

    def generous(self, size: int) -> int:
        """The same, with some air for the next ones."""
        return max(0, self.bytes + size - int(self.budget * (1 - _SLACK)))

    def wrote(self, size: int) -> None:
        """A file came. Raises `OSError`."""
        self._written = self.written_today + size
        self._day = daily.today()
        self.bytes += size
        daily.add_written(self._home, size)

    def freed(self, size: int) -> None:
        """A file went."""
        self.bytes = max(0, self.bytes - size)
