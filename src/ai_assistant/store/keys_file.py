"""`keys.json`: read, and changed by one program at a time; there whole or not at all."""

import contextlib
import os
import time
from collections.abc import Callable, Generator
from pathlib import Path

import msgspec

from ai_assistant.protocol.errors import InvalidRequest, Unavailable
from ai_assistant.protocol.files import write_whole
from ai_assistant.store.keys import KeyBook

_VERSION = 1
_WAIT_SECONDS = 5.0
_STALE_SECONDS = 30.0
"""A lock that is older was left by a program that died: changing the file takes milliseconds."""


class BadKeys(InvalidRequest):
    """The file of the keys cannot be used."""


def read_keys(path: Path) -> KeyBook:
    """The keys; without a file none. Raises `BadKeys`."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return KeyBook()
    except OSError as error:
        raise BadKeys(f"The keys in {path} cannot be read: {error.strerror}.") from error
    try:
        book = msgspec.json.decode(data, type=KeyBook)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadKeys(
            f"The keys in {path} cannot be read: {error}. Put a backup in its place, or move the "
            "file away and make new keys with `ai-assistant keys add`."
        ) from error
    if book.version > _VERSION:
        raise BadKeys(f"{path} was written by a newer version: update this program.")
    return book


def change_keys(path: Path, change: Callable[[KeyBook], KeyBook]) -> KeyBook:
    """Read, change and write, with everyone else kept out; the book as it is now.

    Raises `BadKeys`, `Unavailable` while another program changes it, and `OSError`.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(path.with_name(f".{path.name}.lock")):
        before = read_keys(path)
        after = change(before)
        if after != before:
            write_whole(path, msgspec.json.format(msgspec.json.encode(after), indent=1) + b"\n")
    return after


@contextlib.contextmanager
def _alone(lock: Path) -> Generator[None]:
    """A file that only one can make: it works on every system and on network disks."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            break
        except FileExistsError:
            with contextlib.suppress(OSError):
                if time.time() - lock.stat().st_mtime > _STALE_SECONDS:
                    lock.unlink()
                    continue
        if time.monotonic() > deadline:
            raise Unavailable(f"Another program changes the keys ({lock}); try again.")
        time.sleep(0.02)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


class KeysFile:
    """The keys that hold now. A file that can no longer be read changes nothing."""

    _LOOK_SECONDS = 0.25

    def __init__(self, path: Path | None) -> None:
        """None: no keys are kept. Raises `BadKeys`."""
        self._path = path
        self._next_look = 0.0
        self._seen = _stamp(path)
        self.book = read_keys(path) if path else KeyBook()
        self.problem = ""
        """Why the newest file is not used."""

    def changed(self) -> bool:
        """Look whether somebody changed it; cheap, since it looks four times a second."""
        now = time.monotonic()
        if self._path is None or now < self._next_look:
            return False
        self._next_look = now + self._LOOK_SECONDS
        seen = _stamp(self._path)
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            self.book, self.problem = read_keys(self._path), ""
        except BadKeys as error:
            self.problem = error.message
            return False
        return True


def _stamp(path: Path | None) -> tuple[int, int, int]:
    try:
        if path is not None:
            found = path.stat()
            return found.st_mtime_ns, found.st_size, found.st_ino
    except OSError:
        pass
    return 0, 0, 0
