"""What is open while jobs are in use: the list, the files, and the stages over them.

Importing it costs a fifth of a second, for SQLAlchemy; so it is done in the first use.
"""

from pathlib import Path

from ai_assistant.jobs.books import Books
from ai_assistant.jobs.database import Database
from ai_assistant.jobs.errors import FileInUse, JobsUnavailable
from ai_assistant.jobs.place import FolderLock
from ai_assistant.jobs.places import Places
from ai_assistant.jobs.ports import Ports
from ai_assistant.jobs.settings import JobsSettings
from ai_assistant.jobs.shelf import Shelf
from ai_assistant.jobs.stages import Stages
from ai_assistant.protocol.errors import NotFound

_DAY = 86_400


class Room:
    """Built, and closed, in a thread."""

    def __init__(self, folder: Path, settings: JobsSettings, ports: Ports) -> None:
        """Raises `JobsUnavailable`, and `JobsElsewhere` where another process is at it."""
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.shelf = Shelf(Path(settings.dir) if settings.dir else folder / "files")
            self._lock = FolderLock(folder)
        except OSError as error:
            raise JobsUnavailable(f"Jobs cannot be kept in {folder}: {error.strerror}.") from error
        try:
            self._database = Database(folder, settings.database)
            self.url = self._database.url
            self.books = Books(self._database)
            self.stages = self._stages(settings, ports)
            self.sweep(ports.clock.now())
            self.shelf.tidy(set(self.books.known_files()))
        except BaseException:
            self._lock.release()
            raise

    def sweep(self, now: float) -> None:
        """Delete files whose time is over and that no batch needs."""
        for file in self.books.outdated_files(now):
            try:
                self.books.drop_file(file.tenant, file.id)
            except (FileInUse, NotFound):
                continue
            self.shelf.drop(file.id)

    def close(self) -> None:
        """Let go of the folder."""
        self._database.close()
        self._lock.release()

    def _stages(self, settings: JobsSettings, ports: Ports) -> Stages:
        def lines_at_once(model: str) -> int:
            return settings.concurrency or ports.desk.room(model)

        return Stages(
            self.books,
            self.shelf,
            ports,
            places=Places(lines_at_once),
            window=settings.window,
            keep_seconds=int(settings.keep_days * _DAY) or None,
        )
