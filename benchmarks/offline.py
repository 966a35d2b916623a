"""What a machine without a network needs to build the kernels, packed on one with a network.

`python -m benchmarks.offline [--python 3.12] [--without NAME …] [--backends cuda …]` writes
`.bench/offline`: the source of the kernels, their Python binding and the wheels of everything else.
Bring the folder to the other machine's checkout and run `benchmarks/offline.sh` there.
"""

import argparse
import shutil
import subprocess
import tarfile
from collections.abc import Collection
from pathlib import Path

from benchmarks.models import SHAPES
from benchmarks.source import BENCH, ensure_source

OFFLINE = BENCH / "offline"
PLATFORMS = ("2_35", "2_34", "2_31", "2_28", "2_27", "2_24", "2_17", "2_12", "2_5")
"""manylinux versions whose wheels are taken."""
LEFT_OUT = ("docs", "models", "benches", "media", "examples", "tests", "app")
"""Folders of llama.cpp that the build does not need."""
PAGES = ("src", "static", "tests", "package-lock.json")
"""What llama-server's own console is made of."""
BACKENDS = ("cann", "cuda", "et", "hexagon", "metal", "opencl", "openvino", "sycl", "virtgpu",
            "vulkan", "webgpu", "zdnn", "zendnn")  # fmt: skip
"""Folders of kernels for devices, each of some use on some machines only."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", default="3.12", help="version on the other machine")
    parser.add_argument("--without", nargs="*", default=[], help="packages that are there already")
    parser.add_argument("--backends", nargs="*", default=["cuda"], help="what to build for")
    args = parser.parse_args()
    OFFLINE.mkdir(parents=True, exist_ok=True)
    pack_source(OFFLINE / "kernels.tar.xz", args.backends)
    fetch_wheels(OFFLINE / "wheels", args.python, args.without)
    size = sum(file.stat().st_size for file in OFFLINE.rglob("*") if file.is_file())
    print(f"{OFFLINE}: {size / 1e6:.1f} MB")


def pack_source(target: Path, backends: Collection[str]) -> None:
    """llama.cpp without what the build leaves alone, and the binding, as the package lays them."""
    source = ensure_source()
    package = source.parents[1]
    absent = {f"ggml-{name}" for name in BACKENDS if name not in backends}

    def kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        parts = Path(entry.name).relative_to(f"{package.name}/vendor/llama.cpp").parts
        pages = parts[:2] == ("tools", "ui") and parts[2:3] and parts[2] in PAGES
        backend = parts[:2] == ("ggml", "src") and parts[2:3] and parts[2] in absent
        return None if pages or backend or (parts[:1] and parts[0] in LEFT_OUT) else entry

    vocabularies = {shape.vocabulary for shape in SHAPES.values()}
    with tarfile.open(target, "w:xz") as archive:
        archive.add(source, f"{package.name}/vendor/llama.cpp", filter=kept)
        for name in sorted(vocabularies):
            file = source / "models" / f"ggml-vocab-{name}.gguf"
            archive.add(file, f"{package.name}/vendor/llama.cpp/models/{file.name}")
        for file in sorted((package / "llama_cpp").glob("*.py")):
            archive.add(file, f"{package.name}/llama_cpp/{file.name}")


def fetch_wheels(folder: Path, python: str, without: Collection[str]) -> None:
    """The locked versions of all packages but the kernels, for Linux on x86-64."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    uv = shutil.which("uv") or "uv"
    export = (uv, "export", "--frozen", "--no-dev", "--no-emit-project", "--no-hashes")
    lines = subprocess.run(export, check=True, capture_output=True, text=True).stdout.splitlines()
    skipped = {"llama-cpp-python", *without}
    wanted = [
        line.split(";")[0].strip()
        for line in lines
        if "==" in line and line.split("==")[0] not in skipped and _fits(line, python)
    ]
    tags = [f"manylinux_{version}_x86_64" for version in PLATFORMS]
    platforms = [part for tag in (*tags, "manylinux2014_x86_64") for part in ("--platform", tag)]
    subprocess.run(
        [
            *(uv, "tool", "run", "pip", "download", "--quiet", "--no-deps"),
            *("--only-binary", ":all:", "--python-version", python, "--implementation", "cp"),
            *platforms,
            *("--dest", str(folder)),
            *wanted,
            "gguf==0.19.0",
        ],
        check=True,
    )


def _fits(line: str, python: str) -> bool:
    """Whether a line of the export is for this version of Python and for Linux."""
    marker = line.partition(";")[2].split("#")[0]
    old = tuple(map(int, python.split("."))) < (3, 12)
    if "python_full_version < '3.12'" in marker:
        return old
    if "python_full_version >= '3.12'" in marker:
        return not old
    return "sys_platform == 'win32'" not in marker and "sys_platform == 'darwin'" not in marker


if __name__ == "__main__":
    main()
