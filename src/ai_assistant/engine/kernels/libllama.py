"""libllama loaded once, its log kept quiet and its last complaints remembered."""

import collections
import contextlib
import ctypes
import os
import re
import sys
import threading
from typing import Any

# Read by libgomp when it is loaded. By default its threads spin for milliseconds after each piece
# of work, on the core that the node needs between two steps; 10,000 turns are about 0.1 ms, longer
# than any wait within a step. The owner's own value wins.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # not a setting of ours

# A CUDA toolchain may link a C++ library of its own into libggml-cuda. Unless the system's is there
# before it, libllama takes some of its symbols from that one and crashes (seen with CUDA 13.0).
if sys.platform == "linux":
    with contextlib.suppress(OSError):
        ctypes.CDLL("libstdc++.so.6", ctypes.RTLD_GLOBAL)

from llama_cpp import llama_cpp as _binding

llama: Any = _binding
"""The C functions. Untyped on purpose: the binding's hints name ctypes where plain numbers come."""

LEVEL_WARN, LEVEL_ERROR, LEVEL_CONTINUED = 3, 4, 5

complaints: collections.deque[str] = collections.deque(maxlen=20)
"""The latest warnings and errors: libllama's reasons are only in its log."""

weights: dict[str, int] = {}
"""Bytes of the latest model's weights by kind of buffer: only the log says it."""

memory: dict[str, int] = {}
"""The same of everything since it was cleared: `weights/CPU_Mapped`, `kv/CUDA0`, `compute/CPU`."""

_BUFFER = re.compile(r"(\w+) +(model|KV|RS|compute|output) buffer size += +([\d.]+) MiB")
_USES = {"model": "weights", "KV": "kv", "RS": "kv", "compute": "compute", "output": "output"}

_started = threading.Event()
_level = 0


def _log(level: int, text: bytes | None, _data: object) -> None:
    global _level
    _level = _level if level == LEVEL_CONTINUED else level
    if text and (found := _BUFFER.search(text.decode("utf-8", "replace"))):
        where, use, size = found[1], _USES[found[2]], int(float(found[3]) * (1 << 20))
        memory[f"{use}/{where}"] = memory.get(f"{use}/{where}", 0) + size
        if use == "weights":
            weights[where] = weights.get(where, 0) + size
    if _level in (LEVEL_WARN, LEVEL_ERROR) and text:
        line = text.decode("utf-8", "replace")
        if line.strip():
            complaints.append(line.strip())
        sys.stderr.write(line)


_callback = llama.llama_log_callback(_log)


def start() -> None:
    """Set the log and initialise the backends; again is harmless."""
    if not _started.is_set():
        llama.llama_log_set(_callback, ctypes.c_void_p(0))
        _load_plugins()
        llama.llama_backend_init()
        _started.set()


def _load_plugins() -> None:
    """Kernels for any CPU (`make kernels-portable`) keep their backends in files beside libllama:
    load the best of each kind for this machine. Other builds have theirs inside already."""
    # Through libllama's own handle: a second copy of libggml would have a list of its own.
    functions: Any = getattr(_binding, "_lib")  # noqa: B009 - the binding calls it private
    if sys.platform == "win32":  # There a handle does not reach what it depends on.
        from llama_cpp import _ggml

        functions = _ggml.libggml
    if not functions.ggml_backend_reg_count():
        folder = os.path.join(os.path.dirname(_binding.__file__), "lib")
        functions.ggml_backend_load_all_from_path(folder.encode())


def system_info() -> str:
    """The instruction sets that the kernels were built for."""
    start()
    return llama.llama_print_system_info().decode()


def version() -> str:
    """Of the binding; it names the libllama that it carries."""
    import llama_cpp

    return llama_cpp.__version__
