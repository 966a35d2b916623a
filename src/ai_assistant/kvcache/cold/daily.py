"""How much was written today (UTC), in a small file for each model: disks wear out."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ai_assistant.kvcache.cold.files import Draft

_FILE = "written.json"


class _Written(msgspec.Struct):
    day: str
    bytes: int


def today() -> str:
    """The day that counts."""
    return datetime.now(UTC).date().isoformat()


def written_by(home: Path) -> int:
    """Bytes that one model wrote today, by all its processes."""
    try:
        found = msgspec.json.decode((home / _FILE).read_bytes(), type=_Written)
    except (OSError, msgspec.DecodeError):
        return 0
    return found.bytes if found.day == today() else 0


def add_written(home: Path, count: int) -> None:
    """Count `count` bytes more; raises `OSError`. Two at the same moment may count as one."""
    written = _Written(today(), written_by(home) + count)
    Draft(home / _FILE, [msgspec.json.encode(written)]).keep(sync=False)
