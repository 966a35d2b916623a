"""llama.cpp's own server, built from the kernels' own source with the kernels' own flags.

`python -m benchmarks.llama_server` builds it (minutes, once); `start(…)` runs it.
"""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.servers import Server, free_port, launched
from benchmarks.source import BENCH, ensure_source

KERNEL_FLAGS = ("-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DGGML_RPC=ON")
"""What pyproject.toml builds the kernels with."""
PROGRAMS = ("llama-server", "llama-bench", "llama-fit-params")
OTHER_FLAGS = (
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
)


def build() -> Path:
    """The folder of `llama-server` and `llama-bench`."""
    folder = BENCH / "llama-server"
    if not (folder / "complete").exists():
        source = ensure_source()
        _run("cmake", "-G", "Ninja", "-S", source, "-B", folder, *KERNEL_FLAGS, *OTHER_FLAGS)
        _run("cmake", "--build", folder, "-j2", "--target", *PROGRAMS)
        (folder / "complete").touch()
    return folder / "bin"


@contextlib.contextmanager
def start(
    model: Path, *, slots: int, context: int, extra: Sequence[str] = (), as_it_comes: bool = False
) -> Iterator[Server]:
    """A server whose `slots` conversations may have `context` tokens each; `as_it_comes` leaves the
    number of slots to the server."""
    port = free_port()
    command = [
        build() / "llama-server",
        *("--model", model, "--port", str(port), "--host", "127.0.0.1"),
        *(() if as_it_comes else ("--parallel", str(slots))),
        *("--ctx-size", str(slots * context)),
        *("--offline", "--no-webui"),
        *extra,
    ]
    name = "llama-server, as it comes" if as_it_comes else "llama-server"
    with launched(name, command, port=port) as server:
        yield server


def _run(*command: str | Path) -> None:
    polite = ["nice", "-n", "19"] if shutil.which("nice") else []
    subprocess.run([*polite, *map(str, command)], check=True)


if __name__ == "__main__":
    print(build())
