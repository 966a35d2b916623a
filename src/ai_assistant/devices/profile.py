"""The machine as it is: read and measured. What could not be read is None or empty.

Sizes are bytes, rates bytes per second, times seconds, frequencies MHz, power watts, energy joules,
temperatures degrees Celsius.
"""

from typing import Literal

import msgspec

from ai_assistant.protocol.kernels import DeviceKind, DeviceSpeed, MatrixRate

VERSION = 6
"""Of the stored form and of the kernels: another one is measured anew."""

CoreKind = Literal["performance", "efficiency", "low-power", "all"]
DiskKind = Literal["nvme", "ssd", "hdd", "card", "network", "memory", "unknown"]
LinkKind = Literal["ethernet", "wifi", "infiniband", "virtual", "unknown"]
Reading = Literal["energy", "power", "temperature"]


class Cores(msgspec.Struct, frozen=True, kw_only=True):
    """Cores of one kind."""

    kind: CoreKind
    """`all` where there is only one kind."""
    cores: int
    threads_per_core: int
    cpus: tuple[int, ...] = ()
    """Logical numbers, for pinning; empty where the system does not tell."""
    max_mhz: float | None = None


class Cache(msgspec.Struct, frozen=True, kw_only=True):
    """Caches of one level that are alike."""

    level: int
    bytes: int
    """Of each."""
    count: int
    kind: CoreKind = "all"
    """Of the cores that use them."""


class NumaNode(msgspec.Struct, frozen=True, kw_only=True):
    """Memory with the cores that are near to it."""

    id: int
    cpus: tuple[int, ...]
    total_bytes: int | None
    free_bytes: int | None


class ThreadRate(msgspec.Struct, frozen=True):
    """What so many threads get together."""

    threads: int
    bytes_per_second: float


class Cpu(msgspec.Struct, frozen=True, kw_only=True):
    """The processor, as far as this process may use it."""

    name: str
    machine: str
    """Such as `x86_64` or `aarch64`."""
    instruction_sets: tuple[str, ...] | None
    """Those that matrix kernels use, the oldest first: `SSE4.2`, `AVX2`, `NEON`."""
    kinds: tuple[Cores, ...]
    """The fastest first."""
    sockets: int | None
    physical: int
    logical: int
    usable: int
    """Logical cores that this process may run on."""
    quota_cores: float | None
    """Cores' worth of time that a control group grants."""
    caches: tuple[Cache, ...] = ()
    numa: tuple[NumaNode, ...] = ()
    hypervisor: bool | None = None
    """Whether this is a guest."""
    matrices: tuple[MatrixRate, ...] = ()
    """Measured by the kernels, at several numbers of threads."""
    launch_seconds: float | None = None
    """Of the smallest piece of work, with all threads."""

    @property
    def compute_cores(self) -> int:
        """Physical cores that can compute at once: affinity and quota taken off."""
        granted = min(self.usable, self.quota_cores or self.usable)
        return max(1, min(self.physical, int(granted)))

    @property
    def last_cache_bytes(self) -> int:
        """Of all caches of the last level together; 0 where they cannot be read."""
        last = max((one.level for one in self.caches), default=0)
        return sum(one.bytes * one.count for one in self.caches if one.level == last)


class Pressure(msgspec.Struct, frozen=True, kw_only=True):
    """Share of the time, in per cent, that work waited for memory (PSI)."""

    some_10s: float
    some_60s: float
    full_10s: float
    full_60s: float


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Main memory, as far as this process can have it."""

    total_bytes: int
    """A control group's limit included."""
    free_bytes: int
    """What can be taken without swapping."""
    machine_bytes: int
    limit_bytes: int | None = None
    """Of the control group."""
    swap_total_bytes: int | None = None
    swap_free_bytes: int | None = None
    pressure: Pressure | None = None
    read: tuple[ThreadRate, ...] = ()
    """Measured: plain reading, far beyond the caches, by the number of threads."""

    @property
    def best_read(self) -> ThreadRate | None:
        """The fewest threads that get within 3 per cent of the most."""
        most = max((one.bytes_per_second for one in self.read), default=0)
        return next((one for one in self.read if one.bytes_per_second >= 0.97 * most), None)


class Accelerator(msgspec.Struct, frozen=True, kw_only=True):
    """A card or a part of the chip that computes; usable only with a `device`."""

    name: str
    kind: DeviceKind
    vendor: str | None = None
    device: str | None = None
    """How the kernels name it (`CUDA0`); None: they were not built for it."""
    backend: str | None = None
    memory_total_bytes: int | None = None
    memory_free_bytes: int | None = None
    shares_memory: bool = False
    """Its memory is main memory."""
    pci: str | None = None
    driver: str | None = None
    link_generation: int | None = None
    """PCI Express, the most that card and slot do together."""
    link_lanes: int | None = None
    numa_node: int | None = None
    power_limit_watts: float | None = None
    power_limits_watts: tuple[float, float] | None = None
    """The least and the most that the limit can be set to."""
    speed: DeviceSpeed | None = None
    """Measured."""


class MediaEngine(msgspec.Struct, frozen=True, kw_only=True):
    """Hardware that decodes video."""

    kind: Literal["NVDEC", "VA-API", "V4L2", "VideoToolbox"]
    where: str
    codecs: tuple[str, ...] = ()
    """Empty where they cannot be asked for."""


class DiskSpeed(msgspec.Struct, frozen=True, kw_only=True):
    """Reading past the system's cache, in bytes per second."""

    sequential: float | None = None
    """One reader."""
    parallel: float | None = None
    """Several readers at once."""
    readers: int = 0
    random_4k: float | None = None
    """One reader, 4 KiB at a time, anywhere: what page faults get."""
    method: str = ""
    """`direct`, or `dropped` where the system's cache was only asked to forget."""


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """The disk below some folders."""

    folders: tuple[str, ...]
    mount: str | None = None
    filesystem: str | None = None
    device: str | None = None
    kind: DiskKind = "unknown"
    model: str | None = None
    total_bytes: int | None = None
    free_bytes: int | None = None
    speed: DiskSpeed | None = None
    """Measured."""


class Sensor(msgspec.Struct, frozen=True, kw_only=True):
    """Something that tells energy, power or temperature."""

    source: Literal["rapl", "nvml", "hwmon", "thermal"]
    name: str
    reading: Reading
    path: str
    """A file, or `nvml:INDEX`."""
    value: float | None
    """Now, in joules, watts or degrees; None: it may not be read by this user."""
    limit: float | None = None
    """Where the hardware protects itself, or is held."""
    wraps_at: float | None = None
    """Joules at which the counter begins anew."""


class Power(msgspec.Struct, frozen=True, kw_only=True):
    """What power and heat can be read and set by."""

    sensors: tuple[Sensor, ...] = ()
    governor: str | None = None
    governors: tuple[str, ...] = ()
    """That could be chosen."""
    frequency_driver: str | None = None
    min_mhz: float | None = None
    max_mhz: float | None = None
    on_battery: bool | None = None


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A network link."""

    name: str
    kind: LinkKind
    up: bool
    bits_per_second: float | None = None


class Swap(msgspec.Struct, frozen=True, kw_only=True):
    """A place that memory is swapped to."""

    path: str
    kind: Literal["partition", "file", "zram"]
    total_bytes: int
    used_bytes: int


class Offers(msgspec.Struct, frozen=True, kw_only=True):
    """What the system offers beyond memory."""

    kernel: str | None = None
    swaps: tuple[Swap, ...] | None = None
    swappiness: int | None = None
    zswap: bool | None = None
    zram_bytes: int | None = None
    """Size of all compressed swap in memory."""
    huge_pages: str | None = None
    """`always`, `madvise` or `never`."""
    reserved_huge_bytes: int | None = None
    io_uring: bool | None = None
    cgroup: Literal[1, 2] | None = None
    cgroup_path: str | None = None
    pressure: bool | None = None
    """Whether the kernel tells memory pressure."""
    lock_limit_bytes: int | None = None
    """Memory that may be locked; None also where there is no limit."""
    open_files: int | None = None
    readahead_bytes: int | None = None
    """Of the disk that the first folder lies on."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """The whole machine."""

    version: int = VERSION
    read_at: str
    """When, in UTC (RFC 3339)."""
    measured_at: str | None = None
    disturbed: bool = False
    """Other programs were busy while it was measured."""
    fingerprint: str = ""
    """Changes when the hardware does."""
    system: str
    """`Linux`, `Darwin` or `Windows`."""
    model: str | None = None
    """Of the whole machine, as its maker calls it."""
    cpu: Cpu
    memory: Memory
    accelerators: tuple[Accelerator, ...] = ()
    kernels: str | None = None
    """Version of the kernels; None: they do not start."""
    kernels_error: str | None = None
    media: tuple[MediaEngine, ...] = ()
    disks: tuple[Disk, ...] = ()
    power: Power = Power()
    links: tuple[Link, ...] = ()
    offers: Offers = Offers()
    seconds: float | None = None
    """That measuring took."""

    @property
    def usable_accelerators(self) -> tuple[Accelerator, ...]:
        """Those that the kernels compute on."""
        return tuple(one for one in self.accelerators if one.device)

    def speed_of(self, card: Accelerator) -> DeviceSpeed | None:
        """Its own speed, else that of a card of the same name; None: nothing is known."""
        sisters = (one.speed for one in self.accelerators if one.speed and one.name == card.name)
        return card.speed or next(sisters, None)
