"""The source package that the kernels here were built from: same version, same bytes.

`ensure_source()` downloads what `uv.lock` names, once, into `.bench/`.
"""

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
import tomllib
from pathlib import Path

from benchmarks.report import ROOT

BENCH = ROOT / ".bench"
"""Whatever benchmarks make or fetch; not in the repository."""
PACKAGE = "llama-cpp-python"


def ensure_source() -> Path:
    """The unpacked source of llama.cpp, inside the kernels' source package."""
    url, digest = locked()
    name = url.rsplit("/", 1)[1].removesuffix(".tar.gz")
    target = BENCH / "source" / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            archive = _download(url, digest, Path(scratch))
            with tarfile.open(archive) as package:
                package.extractall(scratch, filter="data")
            (Path(scratch) / name).rename(target)
    return target / "vendor" / "llama.cpp"


def locked() -> tuple[str, str]:
    """Address and SHA-256 of the source package, from `uv.lock`."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    (sdist,) = (package["sdist"] for package in lock["package"] if package["name"] == PACKAGE)
    return sdist["url"], sdist["hash"].removeprefix("sha256:")


def _download(url: str, digest: str, folder: Path) -> Path:
    uv = shutil.which("uv")
    if uv is None:
        raise RuntimeError("Benchmarks fetch the kernels' source with uv: put `uv` on the PATH.")
    options = ("--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(folder))
    subprocess.run(
        [uv, "tool", "run", "pip", "download", *options, f"{url}#sha256={digest}"], check=True
    )
    archive = folder / url.rsplit("/", 1)[1]
    with archive.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise RuntimeError(f"{archive.name} is not what uv.lock names")
    return archive


if __name__ == "__main__":
    print(ensure_source())
