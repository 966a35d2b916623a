"""What this machine has: read, not judged. What cannot be read is None or empty.

`root` is where the system's files are, so that recorded ones can be read too.
"""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
import psutil

DiskKind = Literal["nvme", "ssd", "hdd", "network", "unknown"]
_ROOT = Path("/")
_NETWORK = ("nfs", "cifs", "smb", "sshfs", "fuse.sshfs", "9p", "afs", "webdav")
_VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}
# A cgroup without a limit shows a number near 2**63.
_NO_LIMIT = 1 << 60


class CpuFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The processor, as far as this process may use it."""

    name: str
    machine: str
    """Such as x86_64 or arm64."""
    features: frozenset[str]
    """Lower-case, as Linux names them; empty where they cannot be read."""
    physical: int
    logical: int
    usable: int
    """Logical cores that this process may run on."""
    quota: float | None
    """Cores' worth of time that a container may spend."""

    @property
    def compute_cores(self) -> int:
        """Physical cores that can compute at once: affinity and quota taken off."""
        return min(self.physical, self.usable, max(1, int(self.quota or self.usable)))


class MemoryFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes, a container's limit included."""

    total: int
    available: int


class DiskFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The disk that holds `path`."""

    path: str
    free: int
    kind: DiskKind


class GpuFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Graphics hardware that the system knows, whether the kernels can use it or not."""

    nvidia: tuple[str, ...] = ()
    """Names from NVIDIA's driver."""
    vendors: tuple[str, ...] = ()
    """Makers of the cards that have a render node."""
    metal: bool = False


def read_cpu(root: Path = _ROOT) -> CpuFacts:
    """The processor of this machine."""
    name, features = parse_cpuinfo(_text(root / "proc/cpuinfo"))
    return CpuFacts(
        name=name or platform.processor() or platform.machine(),
        machine=platform.machine().lower(),
        features=features or _features_elsewhere(),
        physical=psutil.cpu_count(logical=False) or 1,
        logical=psutil.cpu_count() or 1,
        usable=_usable_cores(),
        quota=read_quota(root),
    )


def parse_cpuinfo(text: str) -> tuple[str, frozenset[str]]:
    """Name and features from `/proc/cpuinfo`, of x86 or ARM."""
    name, features = "", frozenset[str]()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model") and not name:
            name = value.strip()
        elif key.strip() in ("flags", "Features") and not features:
            features = frozenset(value.lower().split())
    return name, features


def _features_elsewhere() -> frozenset[str]:
    if sys.platform == "darwin":
        return parse_sysctl(run_quietly(["sysctl", "machdep.cpu", "hw.optional"]))
    if sys.platform == "win32":
        import ctypes

        known = {"avx": 39, "avx2": 40, "avx512f": 41, "asimd": 19}
        present = ctypes.windll.kernel32.IsProcessorFeaturePresent
        return frozenset(name for name, number in known.items() if present(number))
    return frozenset()


def parse_sysctl(text: str) -> frozenset[str]:
    """Features from macOS's `sysctl machdep.cpu hw.optional`, in Linux's names."""
    found: set[str] = set()
    for line in text.splitlines():
        key, _, value = line.partition(": ")
        if key.endswith("features"):
            found.update(word.lower() for word in value.split())
        elif key.startswith("hw.optional.") and value.strip() == "1":
            found.add(key.rpartition(".")[2].lower())
    names = {"avx1.0": "avx", "avx2_0": "avx2", "neon": "asimd", "advsimd": "asimd"}
    names |= {"feat_dotprod": "asimddp", "feat_i8mm": "i8mm"}
    return frozenset(names.get(word, word) for word in found)


def read_quota(root: Path = _ROOT) -> float | None:
    """Cores that the control group grants: version 2, then version 1."""
    folder = root / "sys/fs/cgroup"
    if text := _text(folder / "cpu.max"):
        return parse_quota(text)
    quota = _text(folder / "cpu/cpu.cfs_quota_us").strip()
    period = _text(folder / "cpu/cpu.cfs_period_us").strip()
    return parse_quota(f"{quota} {period}") if quota and period else None


def parse_quota(text: str) -> float | None:
    """`max 100000` or `-1 100000` is no limit; `150000 100000` is 1.5 cores."""
    quota, _, period = text.strip().partition(" ")
    if not quota.isdecimal() or not period.isdecimal() or int(period) == 0:
        return None
    return int(quota) / int(period)


def _usable_cores() -> int:
    if sys.platform != "darwin" and hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return psutil.cpu_count() or 1


def read_memory(root: Path = _ROOT) -> MemoryFacts:
    """Memory that this process can have."""
    machine = psutil.virtual_memory()
    limit, used = read_memory_limit(root)
    if limit is None or limit >= machine.total:
        return MemoryFacts(total=machine.total, available=machine.available)
    return MemoryFacts(total=limit, available=min(machine.available, max(0, limit - used)))


def read_memory_limit(root: Path = _ROOT) -> tuple[int | None, int]:
    """The control group's limit and what it uses now, in bytes."""
    folder = root / "sys/fs/cgroup"
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        if text := _text(folder / limit).strip():
            if not text.isdecimal() or int(text) >= _NO_LIMIT:
                return None, 0
            return int(text), int(_text(folder / used).strip() or 0)
    return None, 0


def read_disk(path: Path, root: Path = _ROOT) -> DiskFacts:
    """The disk that holds `path`, or would hold it."""
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    mounts = _text(root / "proc/mounts")
    kind = "network" if is_network(mounts, place) else _local_kind(place.stat().st_dev, root)
    return DiskFacts(path=str(path), free=shutil.disk_usage(place).free, kind=kind)


def is_network(mounts: str, place: Path) -> bool:
    """Whether the deepest mount above `place` comes over a network (`/proc/mounts`)."""
    best, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3 or not place.is_relative_to(fields[1]):
            continue
        if len(fields[1]) >= len(best):
            best, kind = fields[1], fields[2]
    return kind.startswith(_NETWORK)


def _local_kind(device: int, root: Path) -> DiskKind:
    if not hasattr(os, "major"):
        return "unknown"
    folder = root / f"sys/dev/block/{os.major(device)}:{os.minor(device)}"
    # A partition has no queue of its own: its disk, one folder up, has.
    for place in (folder.resolve(), folder.resolve().parent):
        if flag := _text(place / "queue/rotational").strip():
            return disk_kind(place.name, rotational=flag == "1")
    return "unknown"


def disk_kind(name: str, *, rotational: bool) -> DiskKind:
    """The speed class of a disk; a virtual one says nothing true about what is below it."""
    if name.startswith(("vd", "xvd")):
        return "unknown"
    return "hdd" if rotational else "nvme" if name.startswith("nvme") else "ssd"


def read_gpus(root: Path = _ROOT) -> GpuFacts:
    """Graphics cards, by driver and by render node."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    nodes = sorted(root.glob("sys/class/drm/renderD*/device/vendor"))
    return GpuFacts(
        nvidia=parse_nvidia(run_quietly(query)),
        vendors=tuple(_VENDORS.get(_text(node).strip(), "other") for node in nodes),
        metal=sys.platform == "darwin" and platform.machine() == "arm64",
    )


def parse_nvidia(text: str) -> tuple[str, ...]:
    """One card per line of `nvidia-smi --query-gpu=name,memory.total`."""
    lines = [line.strip() for line in text.splitlines()]
    return tuple(line for line in lines if "," in line and line.endswith("MiB"))


def run_quietly(arguments: Sequence[str], timeout: float = 5) -> str:
    """What a program prints; empty if it is missing, fails or takes too long."""
    try:
        done = subprocess.run(
            arguments, capture_output=True, timeout=timeout, text=True, errors="replace", check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
