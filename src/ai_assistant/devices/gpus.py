"""GPUs that the kernels can use, and what is free on them now. Cheap where there are none."""

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import msgspec

from ai_assistant.protocol.kernels import KernelReport

_LIBRARY = re.compile(r"(?:lib)?ggml-([a-z]+)")
_NO_GPU = frozenset({"base", "cpu", "rpc", "blas"})


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """One that layers may be laid on."""

    name: str
    """As the kernels call it."""
    description: str
    free: int
    """Bytes."""


def backends(folder: Path | None = None) -> frozenset[str]:
    """Kinds of GPU that the kernels were built for, by the names of their libraries.

    Asking the kernels themselves takes a process and a start of the driver.
    """
    found = {
        match[1]
        for file in (folder or _libraries()).glob("*ggml-*")
        if (match := _LIBRARY.match(file.name))
    }
    return frozenset(found) - _NO_GPU


def _libraries() -> Path:
    package = importlib.util.find_spec("llama_cpp")
    return Path(package.origin).parent / "lib" if package and package.origin else Path("nowhere")


def read_gpus(ask: Callable[[], KernelReport | None]) -> tuple[Gpu, ...]:
    """What the kernels would use: all GPUs; one in the processor only where there is no other."""
    report = ask()
    devices = report.devices if report else ()
    own = [one for one in devices if one.kind == "gpu"]
    shared = [one for one in devices if one.kind == "igpu"][:1]
    return tuple(
        Gpu(name=one.name, description=one.description, free=one.memory_free)
        for one in own or shared
    )
