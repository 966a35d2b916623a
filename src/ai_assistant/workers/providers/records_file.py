"""What was measured of workers, kept over restarts: `providers-seen.json` in the data folder."""

from pathlib import Path

import msgspec

from ai_assistant.protocol.files import write_whole
from ai_assistant.workers.remote.record import Record, RecordState

FILE = "providers-seen.json"
_MOST = 1000
"""Workers that are remembered; the newest ones."""
_LARGEST = 32 << 20


class RecordsFile:
    """Every worker's record by its name, `PROVIDER/MODEL`."""

    def __init__(self, path: Path) -> None:
        """A file that is missing or damaged is an empty one: it holds nothing but figures."""
        self._path = path
        self._kept = _read(path)
        self._records: dict[str, Record] = {}
        self._saved = b""

    def record(self, name: str) -> Record:
        """The worker's record, with what is remembered of it."""
        if name not in self._records:
            self._records[name] = record = Record()
            if name in self._kept:
                record.restore(self._kept[name])
        return self._records[name]

    def save(self) -> None:
        """Write all, if something is new; raises `OSError` and leaves the old file."""
        self.write(self.states())

    def states(self) -> dict[str, RecordState]:
        """What `write` takes, as it is now."""
        return {name: one.state() for name, one in self._records.items() if one.used}

    def write(self, mine: dict[str, RecordState]) -> None:
        """As `save`; it may run in a thread, one call after the other."""
        data = msgspec.json.encode(mine)
        if data != self._saved:
            self._write(mine)
            self._saved = data

    def _write(self, mine: dict[str, RecordState]) -> None:
        # Other processes write too (`providers test`): theirs stays where we know nothing.
        kept = {**self._kept, **_read(self._path)}
        newest = list((kept | mine).items())[-_MOST:]
        write_whole(self._path, msgspec.json.encode(dict(newest)))


def _read(path: Path) -> dict[str, RecordState]:
    try:
        if path.stat().st_size > _LARGEST:
            return {}
        return msgspec.json.decode(path.read_bytes(), type=dict[str, RecordState])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}
