"""Who else computes on this machine right now, and what a container grants.

`root` is where the system's files are, so that recorded ones can be read too. Nothing raises:
what cannot be read is no load.
"""

import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import psutil

INTERVAL = 0.1
"""Seconds between two readings: processor time comes in ticks of 10 ms."""
EFFORT = 0.001
"""The share of time that reading may take: large machines write a long /proc/stat."""
QUOTA_INTERVAL = 5.0
"""Seconds after which quota and allowed cores are read again: they may be changed while we run."""
_NEVER = -1e9


STALE = 1.0
"""Seconds between two looks after which their mean is not believed, if they were a pause."""
AT_WORK = 0.5
"""Cores' worth that we use in a step however long it is."""


class LoadSample(msgspec.Struct, frozen=True):
    """The machine over the latest interval."""

    other_cores: float
    """Cores' worth of ours that other programs, or other virtual machines, use."""
    usable_cores: float
    """Cores that this process may use, a container's quota included."""
    throttled: bool = False
    """Whether the container's quota stopped us."""
    idle_cores: float = math.inf
    """Cores' worth of ours that nobody uses. Where there are none, others would use more than
    they get: what we take shows as less load."""
    rested: bool = False
    """Whether the interval was a pause of ours: then this is what was seen before it."""


class Group(msgspec.Struct, frozen=True):
    """One control group with a quota."""

    stat: Path
    cores: float


class Load:
    """Reads the load, at most every `INTERVAL`; in between the last sample is repeated."""

    def __init__(self, root: Path = Path("/"), own_seconds: Callable[[], float] | None = None):
        self._root = root
        self._own_seconds = own_seconds or time.process_time
        self._cores = _allowed_cores()
        self._machine = _Machine(root, self._cores)
        self._at = self._quota_at = _NEVER
        self._interval = INTERVAL
        self._busy: float | None = None
        self._own = self._others = 0.0
        self._group: Group | None = None
        self._throttles: int | None = None
        self._sample = LoadSample(0.0, float(len(self._cores)))

    def sample(self, now: float) -> LoadSample:
        """The load at `now`, in seconds of any steady clock."""
        if now - self._at < self._interval:
            return self._sample
        self._sample = self._read(now)
        return self._sample

    def _read(self, now: float) -> LoadSample:
        throttled = self._read_group(now)
        begun = time.thread_time()
        busy, own, elapsed = self._machine.busy_seconds(), self._own_seconds(), now - self._at
        self._interval = max(INTERVAL, (time.thread_time() - begun) / EFFORT)
        cores, other, idle = float(len(self._cores)), 0.0, math.inf
        rested = elapsed > STALE and own - self._own < AT_WORK * elapsed
        if rested:
            # A mean over a pause of ours says little of now: what was last seen at work stands.
            other = self._others
        elif busy is not None and self._busy is not None:
            used = (busy - self._busy) / elapsed
            other = min(cores, max(0.0, used - (own - self._own) / elapsed))
            idle = max(0.0, cores - used)
        self._others = other
        self._busy, self._own, self._at = busy, own, now
        usable = min(cores, self._group.cores) if self._group else cores
        # Cores that the quota keeps us from anyway take the others first.
        taken = max(0.0, other - (cores - usable))
        return LoadSample(taken, usable, throttled, idle, rested)

    def _read_group(self, now: float) -> bool:
        if now - self._quota_at >= QUOTA_INTERVAL:
            self._quota_at = now
            self._look_at_cores()
            self._group = find_group(self._root)
            if self._group is None:
                return False
        if self._group is None:
            return False
        before, self._throttles = self._throttles, parse_throttles(_text(self._group.stat))
        return before is not None and before < self._throttles

    def _look_at_cores(self) -> None:
        cores = _allowed_cores()
        if cores != self._cores:
            self._cores, self._busy = cores, None
            self._machine = _Machine(self._root, cores)


class _Machine:
    """Busy seconds of the cores that are ours, everybody's work together."""

    def __init__(self, root: Path, cores: Sequence[int]) -> None:
        self._cores = cores
        self._file = -1
        try:
            self._file = os.open(root / "proc/stat", os.O_RDONLY)
        except OSError:
            return
        self._ticks = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
        self._size = 256 + 128 * (os.cpu_count() or 1)

    def __del__(self) -> None:
        if self._file >= 0:
            os.close(self._file)

    def busy_seconds(self) -> float | None:
        """Since the machine started; None where it does not say."""
        try:
            if self._file >= 0:
                text = os.pread(self._file, self._size, 0)
                return parse_busy_ticks(text, self._cores) / self._ticks
            times = psutil.cpu_times()
        except (OSError, ValueError, RuntimeError):
            return None
        return sum(times) - times.idle - getattr(times, "iowait", 0.0)


def parse_busy_ticks(text: bytes, cores: Sequence[int]) -> int:
    """Busy ticks of `cores` in `/proc/stat`, steal included. Raises `ValueError`."""
    wanted = {b"cpu%d" % core for core in cores}
    total = seen = 0
    for line in text.split(b"\n"):
        if not line.startswith(b"cpu"):
            break
        fields = line.split()
        if fields[0] in wanted and len(fields) > 4:
            # user nice system idle iowait irq softirq steal; guest time is in user already
            numbers = [int(field) for field in fields[1:9]]
            total += sum(numbers) - numbers[3] - (numbers[4] if len(numbers) > 4 else 0)
            seen += 1
    if not seen:
        raise ValueError("/proc/stat does not list these cores")
    return total


def find_group(root: Path) -> Group | None:
    """The control group, ours or one above, whose quota is the smallest; None without a quota."""
    folders = parse_groups(_text(root / "proc/self/cgroup"))
    best: Group | None = None
    for base, path in folders:
        folder = root / base
        places = [folder, *(folder.joinpath(*parts) for parts in _beginnings(path))]
        for place in places:
            cores = read_quota(place)
            if cores is not None and (best is None or cores < best.cores):
                best = Group(place / "cpu.stat", cores)
    return best


def parse_groups(text: str) -> list[tuple[str, str]]:
    """(folder of the hierarchy, our path in it) from `/proc/self/cgroup`, both versions."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            found.append(("sys/fs/cgroup", path))
        elif "cpu" in controllers.split(","):
            found.append(("sys/fs/cgroup/cpu", path))
    return found or [("sys/fs/cgroup", "/")]


def _beginnings(path: str) -> list[list[str]]:
    parts = [part for part in path.split("/") if part and part != ".."]
    return [parts[: end + 1] for end in range(len(parts))]


def read_quota(folder: Path) -> float | None:
    """Cores that one control group grants, version 2 or 1; None without a limit."""
    text = _text(folder / "cpu.max")
    if not text:
        period = _text(folder / "cpu.cfs_period_us")
        text = f"{_text(folder / 'cpu.cfs_quota_us').strip()} {period.strip()}"
    quota, _, period = text.strip().partition(" ")
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None
    return max(0.01, int(quota) / int(period))


def parse_throttles(text: str) -> int:
    """`nr_throttled` of `cpu.stat`; 0 where it is not."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "nr_throttled" and value.strip().isdigit():
            return int(value)
    return 0


def _allowed_cores() -> list[int]:
    if sys.platform != "darwin" and hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
