"""What the kernels say of the devices that they compute on, from a process of its own."""

from typing import Literal

import msgspec

DeviceKind = Literal["cpu", "gpu", "igpu", "accelerator", "meta", "unknown"]


class KernelDevice(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the kernels can compute on; memory in bytes."""

    name: str
    """As plans and logs name it: `CPU`, `CUDA0`, `Vulkan1`."""
    description: str
    backend: str
    """`CPU`, `CUDA`, `Metal`, `Vulkan`, `ROCm`, `SYCL`, `OpenCL`, `RPC`, `BLAS`."""
    kind: DeviceKind
    memory_free: int
    memory_total: int
    pci: str | None = None
    """Address on the bus, such as `0000:c1:00.0`."""
    pinned: bool = False
    """Whether it has page-locked buffers in main memory."""


class MatrixRate(msgspec.Struct, frozen=True, kw_only=True):
    """A matrix product as a layer does it: weights of one type times the vectors of some tokens."""

    weights: str
    """`q4_K`, `q8_0`, `f16`."""
    tokens: int
    """Vectors in one product: 1 is decoding, 512 is a piece of a prompt."""
    threads: int
    """Of the processor; 0 where the device decides."""
    seconds: float
    """For one pass over `weight_bytes`."""
    weight_bytes: int
    """Bytes of weights that one pass reads."""
    elements: int
    """Weights in one pass: each costs two operations for each token."""
    repacked: bool = False
    """The weights lie as the kernels like them best, as they do in a loaded model."""

    @property
    def bytes_per_second(self) -> float:
        """Weights read: the limit of decoding."""
        return self.weight_bytes / self.seconds

    @property
    def flops_per_second(self) -> float:
        """Operations: the limit of prefilling."""
        return 2.0 * self.elements * self.tokens / self.seconds


class MeasureTask(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure of one device, and for how long."""

    device: str
    threads: int = 0
    fewer_threads: tuple[int, ...] = ()
    """Counts at which decoding with the first kind of weights is measured besides."""
    weights: tuple[str, ...] = ("q4_K", "q8_0", "f16")
    tokens: tuple[int, ...] = (1, 8, 32, 128, 512)
    seconds: float = 4
    """About; what does not fit is left out."""
    memory_limit: int = 0
    """Bytes that may be taken; 0: an eighth of what is free."""
    transfers: bool = True


class DeviceSpeed(msgspec.Struct, frozen=True, kw_only=True):
    """What one device does, measured by the kernels' own operations. None: not measured."""

    device: str
    """The name in the list of devices."""
    threads: int = 0
    copy_bytes_per_second: float | None = None
    """Its own memory, read plus written, by a large copy."""
    launch_seconds: float | None = None
    """From handing over the smallest piece of work until its end is known."""
    boundary_seconds: float | None = None
    """16 KiB to the device and 16 KiB back: what a split between two devices costs each step."""
    to_device_pinned: float | None = None
    """Bytes per second from page-locked main memory."""
    to_device_pageable: float | None = None
    from_device_pinned: float | None = None
    from_device_pageable: float | None = None
    matrices: tuple[MatrixRate, ...] = ()
    seconds: float = 0
    """That measuring took, the start of the device included."""


class KernelReport(msgspec.Struct, frozen=True, kw_only=True):
    """All devices of the built kernels, or why there are none."""

    version: str | None = None
    devices: tuple[KernelDevice, ...] = ()
    error: str | None = None
