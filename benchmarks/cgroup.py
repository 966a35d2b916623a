"""A control group with a memory limit, of either version, where this user may make one."""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


class NotPermitted(Exception):
    """No group can be made here; the message says why."""


class Group:
    """A folder of the control groups' file system."""

    def __init__(self, folder: Path, version: int) -> None:
        self._folder = folder
        self._version = version

    def join(self, pid: int) -> None:
        """Put a process into the group."""
        (self._folder / "cgroup.procs").write_text(str(pid))

    @property
    def peak(self) -> int:
        """The most that the group had, page cache included."""
        name = "memory.peak" if self._version == 2 else "memory.max_usage_in_bytes"
        path = self._folder / name
        return int(path.read_text()) if path.exists() else 0

    @property
    def used(self) -> int:
        """What it has now, without what can be dropped at once."""
        name = "memory.current" if self._version == 2 else "memory.usage_in_bytes"
        return int((self._folder / name).read_text()) - self._stat().get("inactive_file", 0)

    @property
    def swapped(self) -> int:
        """Bytes of the group in swap."""
        if self._version == 2:
            path = self._folder / "memory.swap.current"
            return int(path.read_text()) if path.exists() else 0
        return self._stat().get("swap", 0)

    @property
    def killed(self) -> int:
        """Processes that the kernel ended for want of memory."""
        name = "memory.events" if self._version == 2 else "memory.oom_control"
        return self._table(name).get("oom_kill", 0)

    def _stat(self) -> dict[str, int]:
        return self._table("memory.stat")

    def _table(self, name: str) -> dict[str, int]:
        lines = (self._folder / name).read_text().splitlines()
        pairs = (line.rsplit(maxsplit=1) for line in lines)
        return {key: int(value) for key, value in pairs if value.isdigit()}


@contextlib.contextmanager
def limited(size: int) -> Iterator[Group]:
    """A group that may have `size` bytes of memory; raises `NotPermitted`."""
    folder, version = _make()
    try:
        name = "memory.max" if version == 2 else "memory.limit_in_bytes"
        (folder / name).write_text(str(size))
        yield Group(folder, version)
    finally:
        for _ in range(50):  # Its processes may take a moment to go.
            with contextlib.suppress(OSError):
                folder.rmdir()
                break
            time.sleep(0.1)


def _make() -> tuple[Path, int]:
    """In the group of this process where version 2 lets us, else at version 1's root."""
    name = Path(tempfile.mktemp(prefix="ai-assistant-", dir="/")).name
    reasons: list[str] = []
    for folder, version in _places():
        try:
            (folder / name).mkdir()
        except OSError as error:
            reasons.append(f"{folder}: {error.strerror}")
            continue
        limit = "memory.max" if version == 2 else "memory.limit_in_bytes"
        if os.access(folder / name / limit, os.W_OK):
            return folder / name, version
        (folder / name).rmdir()
        reasons.append(f"{folder} has no memory controller")
    raise NotPermitted("; ".join(reasons) or "this system has no control groups")


def _places() -> list[tuple[Path, int]]:
    places: list[tuple[Path, int]] = []
    if (ROOT / "cgroup.controllers").exists():
        places.append((ROOT, 2))
    if (ROOT / "memory").is_dir():
        places.append((ROOT / "memory", 1))
    return places
