"""The small door through which a machine is looked at, so that recorded machines look the same."""

import glob
import importlib.util
import os
import platform
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from ai_assistant.devices.facts import run_quietly
from ai_assistant.protocol.kernels import KernelReport

_LONGEST = 1 << 20
"""Bytes of a file that are read at most: 256 processors describe themselves in 400 kB. Linux
refuses to give any of `/proc/sys` to whoever asks for 4 MiB."""


_STEADY = ("vainfo",)
"""Programs whose answer does not change, and that wake the card that they ask about."""


class NvidiaCard(msgspec.Struct, frozen=True, kw_only=True):
    """What NVIDIA's driver tells of one card; bytes, watts, joules, degrees."""

    index: int
    name: str
    pci: str
    driver: str | None = None
    memory_total: int | None = None
    memory_free: int | None = None
    link_generation: int | None = None
    link_lanes: int | None = None
    power: float | None = None
    power_limit: float | None = None
    power_least: float | None = None
    power_most: float | None = None
    energy: float | None = None
    temperature: float | None = None
    temperature_limit: float | None = None
    decodes: bool = False


class Source(Protocol):
    """A machine that can be asked. What is not there is None or empty; nothing raises."""

    @property
    def system(self) -> str:
        """`Linux`, `Darwin` or `Windows`."""
        ...

    @property
    def machine(self) -> str:
        """Such as `x86_64`."""
        ...

    def read(self, path: str) -> str | None:
        """The text of a file, without the white space around it."""
        ...

    def find(self, pattern: str) -> tuple[str, ...]:
        """Paths that match, sorted by number where they are numbered; `*` stops at a slash."""
        ...

    def target(self, path: str) -> str | None:
        """Where a link leads in the end; None if there is nothing."""
        ...

    def space(self, path: str) -> tuple[int, int] | None:
        """Bytes in all and bytes free of the file system that holds `path`."""
        ...

    def run(self, *command: str) -> str | None:
        """What a program prints; None if it is missing or fails."""
        ...

    def cards(self) -> tuple[NvidiaCard, ...]:
        """What NVIDIA's driver tells."""
        ...

    def kernels(self) -> KernelReport | None:
        """What the kernels can compute on; None if their process does not answer."""
        ...

    def stamp(self) -> str:
        """Changes when the kernels are built anew."""
        ...


class ThisMachine:
    """The machine that this process runs on."""

    def __init__(self, kernels: Callable[[], KernelReport | None] = lambda: None) -> None:
        self._kernels = kernels
        self._steady: dict[tuple[str, ...], str | None] = {}

    @property
    def system(self) -> str:
        """As the interpreter names it."""
        return platform.system()

    @property
    def machine(self) -> str:
        """As the interpreter names it."""
        return platform.machine().lower()

    def read(self, path: str) -> str | None:
        """Empty files are files too."""
        try:
            with open(path, "rb") as file:
                raw = file.read(_LONGEST)
        except (OSError, ValueError):
            return None
        return raw.decode("utf-8", "replace").replace("\0", "").strip()

    def find(self, pattern: str) -> tuple[str, ...]:
        """By the file system's own names."""
        return tuple(sorted(glob.glob(pattern), key=by_number))

    def target(self, path: str) -> str | None:
        """Resolved as far as it goes."""
        return os.path.realpath(path) if os.path.lexists(path) else None

    def space(self, path: str) -> tuple[int, int] | None:
        """Of the nearest folder that exists."""
        place = Path(path).absolute()
        while not place.exists() and place != place.parent:
            place = place.parent
        try:
            usage = shutil.disk_usage(place)
        except OSError:
            return None
        return usage.total, usage.free

    def run(self, *command: str) -> str | None:
        """Five seconds at most."""
        if command in self._steady:
            return self._steady[command]
        text = run_quietly(command).strip() if shutil.which(command[0]) else ""
        if command[0] in _STEADY:
            self._steady[command] = text or None
        return text or None

    def cards(self) -> tuple[NvidiaCard, ...]:
        """Through NVIDIA's library, where its driver is."""
        from ai_assistant.devices.nvml import read_cards

        return read_cards()

    def kernels(self) -> KernelReport | None:
        """As the caller asks them."""
        return self._kernels()

    def stamp(self) -> str:
        """Names and sizes of the built libraries, without loading one."""
        found = importlib.util.find_spec("llama_cpp")
        if found is None or not found.origin:
            return ""
        files = sorted((Path(found.origin).parent / "lib").glob("*"))
        return " ".join(f"{file.name}:{file.stat().st_size}" for file in files)


def by_number(path: str) -> tuple[tuple[str, int], ...]:
    """A key that puts `cpu10` after `cpu9`."""
    parts = re.findall(r"([^0-9]*)([0-9]*)", path)
    return tuple((text, int(digits or -1)) for text, digits in parts)
