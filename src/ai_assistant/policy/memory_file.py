"""The labels of conversations on disk: keys and names of labels, a line for each change."""

import contextlib
import logging
import os
import secrets
from pathlib import Path

import msgspec

from ai_assistant.policy.labels import Labels
from ai_assistant.protocol.files import write_whole

log = logging.getLogger(__name__)

_SALT_BYTES = 32


class _Head(msgspec.Struct, frozen=True):
    salt: bytes
    version: int = 1


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    k: bytes
    t: tuple[str, ...] = ()
    c: tuple[str, ...] = ()


class MemoryFile:
    """Appended to while the node runs; written anew when it is read."""

    def __init__(self, path: Path | None) -> None:
        """None: nothing is kept."""
        self.salt = secrets.token_bytes(_SALT_BYTES)
        self.broken = False
        """Nobody knows what stuck before."""
        self._path = path
        self._handle = -1
        self._warned = False

    def read(self, most: int) -> dict[bytes, Labels]:
        """The latest of each key, the oldest first, and at most so many."""
        if self._path is None:
            return {}
        found: dict[bytes, Labels] = {}
        try:
            if self._path.exists():
                found = self._lines(self._path)
            found = dict(list(found.items())[-most:])
            lines = [_line(key, labels) for key, labels in found.items()]
            head = msgspec.json.encode(_Head(self.salt)) + b"\n"
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_whole(self._path, head + b"".join(lines))
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.broken = True
            log.warning(
                "What stuck to conversations cannot be read (%s): until %s is mended or deleted and"
                " the node is started again, no conversation goes on beyond this machine.",
                error,
                self._path,
            )
        return found

    def add(self, key: bytes, labels: Labels) -> None:
        """Append; a disk that is full costs a warning, and the labels hold until the node ends."""
        if self._path is None or self.broken:
            return
        try:
            if self._handle < 0:
                flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)
                self._handle = os.open(self._path, flags)
            # On a line of its own, also behind one that a full disk cut off.
            line = b"\n" + _line(key, labels)
            written = os.write(self._handle, line)
            if written < len(line):
                raise OSError(f"only {written} of {len(line)} bytes were written")
        except OSError as error:
            self._warn(error)

    def close(self) -> None:
        """Give the file back."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _lines(self, path: Path) -> dict[bytes, Labels]:
        head, *lines = path.read_bytes().split(b"\n")
        self.salt = msgspec.json.decode(head, type=_Head).salt
        found: dict[bytes, Labels] = {}
        for line in filter(None, lines):
            with contextlib.suppress(msgspec.MsgspecError):  # torn by a crash
                one = msgspec.json.decode(line, type=_Line)
                found.pop(one.k, None)
                found[one.k] = Labels(frozenset(one.t), frozenset(one.c))
        return found

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            log.warning("What sticks to conversations cannot be kept in %s: %s", self._path, error)
        self._warned = True


def _line(key: bytes, labels: Labels) -> bytes:
    line = _Line(key, tuple(sorted(labels.text)), tuple(sorted(labels.context)))
    return msgspec.json.encode(line) + b"\n"
