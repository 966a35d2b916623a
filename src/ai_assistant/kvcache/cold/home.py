"""The folder of one model: `FOLDER/FINGERPRINT`."""

from collections.abc import Sequence
from pathlib import Path

from ai_assistant.kvcache.cold.files import Draft, make_private, remove_abandoned
from ai_assistant.kvcache.cold.format import MAX_FINGERPRINT
from ai_assistant.kvcache.cold.shelf import Shelved, write_about


class Home:
    """Where a model's blocks lie, and which model that is."""

    def __init__(self, folder: Path, fingerprint: bytes, about: dict[str, str]) -> None:
        """`ValueError` when the fingerprint is not 1 to 32 bytes."""
        if not 1 <= len(fingerprint) <= MAX_FINGERPRINT:
            raise ValueError(f"a fingerprint has 1 to {MAX_FINGERPRINT} bytes")
        self.folder = folder
        self.fingerprint = fingerprint
        self.path = folder / fingerprint.hex()
        self._about = about

    def prepare(self) -> None:
        """Create what is missing, clear away what a dead process left. Raises `OSError`."""
        make_private(self.folder)
        make_private(self.path)
        remove_abandoned(self.path)
        write_about(self.path, self._about)

    def draft(self, one: Shelved, pieces: Sequence[memoryview]) -> Draft:
        """Begin a block's file. Raises `OSError`."""
        if not self.path.is_dir():
            self.prepare()
        return Draft(one.path(self.folder), pieces)
