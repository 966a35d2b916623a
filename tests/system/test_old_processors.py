"""Kernels for any processor, on processors of long ago: emulated, slow, and with the same answers.

Needs `qemu-x86_64` (Debian: qemu-user) and the wheel that `make kernels-portable` leaves.
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tests.system.running_node import RunningNode

WHEELS = sorted(Path("dist/kernels").glob("llama_cpp_python-*.whl"))
QEMU = shutil.which("qemu-x86_64") or ""
MODULES = (
    "numpy", "msgspec", "zstandard", "llguidance", "re2", "cryptography.fernet", "uvloop",
    "httptools", "psutil", "sqlalchemy", "aiohttp", "yaml", "llama_cpp",
)  # fmt: skip
"""What we depend on and is compiled."""
PROMPT = "Tell me about the sea."
TOKENS = 12
TIE = 0.25
"""Two likeliest tokens this close (in log probability) may come in either order: between SSE4.2
and AVX-512 a token's figure differed by up to 0.18, since they round activations differently."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(not QEMU, reason="qemu-x86_64 is not here"),
    pytest.mark.skipif(not WHEELS, reason="`make kernels-portable` was not run"),
]


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked: first on the path, it stands before the kernels that are installed."""
    folder = tmp_path_factory.mktemp("kernels")
    zipfile.ZipFile(WHEELS[-1]).extractall(folder)
    return folder


def emulated(cpu: str, kernels: Path, *arguments: str, seconds: float = 600) -> str:
    """What Python prints on such a processor. An instruction that it lacks ends the process."""
    done = subprocess.run(
        ["env", f"PYTHONPATH={kernels}", QEMU, "-cpu", cpu, sys.executable, *arguments],
        capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{cpu}: {done.returncode}: {done.stderr[-2000:]}"
    return done.stdout


VARIANT = """
import ctypes, re, sys
folder = sys.argv[1].encode() + b"/llama_cpp/lib"
ctypes.CDLL(folder.decode() + "/libggml.so").ggml_backend_load_all_from_path(folder)
print(*set(re.findall(r"libggml-cpu-(\\w+)\\.so", open("/proc/self/maps").read())))
"""


@pytest.mark.parametrize(
    ("cpu", "variant"),
    [
        ("core2duo", "x64"),
        ("Nehalem", "sse42"),
        ("Westmere", "sse42"),
        ("SandyBridge", "sandybridge"),
        ("IvyBridge", "ivybridge"),
        ("Haswell", "haswell"),
    ],
)
def test_the_best_variant_for_a_processor_is_loaded(cpu: str, variant: str, kernels: Path):
    assert emulated(cpu, kernels, "-c", VARIANT, str(kernels)).split() == [variant]


@pytest.mark.parametrize("module", MODULES)
def test_what_we_depend_on_needs_no_avx(module: str, kernels: Path):
    emulated("Nehalem", kernels, "-c", f"import {module}")


def test_the_installed_kernels_are_really_not_for_such_a_processor():
    """Else the test after this would prove nothing."""
    command = [QEMU, "-cpu", "Nehalem", sys.executable, "-m", "ai_assistant.engine.check"]
    done = subprocess.run(command, capture_output=True, timeout=300, check=False)
    if done.returncode == 0 and b"AVX" not in done.stdout:
        pytest.skip("the kernels that are installed were built without AVX")
    assert done.returncode != 0


class OldNode(RunningNode):
    """A whole node, its engine too, on an emulated processor."""

    def __init__(self, folder: Path, cpu: str, kernels: Path) -> None:
        python = folder / "python"
        python.write_text(f'#!/bin/sh\nexec {QEMU} -cpu {cpu} {sys.executable} "$@"\n')
        python.chmod(0o755)
        # The node starts its engines with the interpreter that it believes to run on.
        (folder / "sitecustomize.py").write_text(f"import sys\nsys.executable = {str(python)!r}\n")
        self._usual, sys.executable = sys.executable, str(python)
        try:
            super().__init__(folder, PYTHONPATH=f"{folder}{os.pathsep}{kernels}")
        finally:
            sys.executable = self._usual

    def wait_for(self, condition: Any, seconds: float = 900) -> Any:
        return super().wait_for(condition, seconds)


def greedy(node: RunningNode) -> list[dict[str, Any]]:
    """Tokens of an answer, each with its likeliest neighbours."""
    answer = node.http.post(
        "/v1/chat/completions",
        json={
            "model": "starter", "messages": [{"role": "user", "content": PROMPT}],
            "max_tokens": TOKENS, "temperature": 0, "logprobs": True, "top_logprobs": 2,
            "repeat_penalty": 1.0, "presence_penalty": 0, "frequency_penalty": 0,
        },
        timeout=900,
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["logprobs"]["content"]


def test_a_node_on_a_processor_without_avx_gives_the_same_answer(
    tmp_path: Path, kernels: Path, node: RunningNode
):
    old = OldNode(tmp_path, "Nehalem", kernels)
    try:
        old.wait_ready()
        slow, usual = greedy(old), greedy(node)
        variant = [path for path in maps(old) if "libggml-cpu" in path]
    finally:
        old.stop()
    assert variant == [f"{kernels}/llama_cpp/lib/libggml-cpu-sse42.so"]
    assert same_but_for_ties(slow, usual), json.dumps([slow, usual])


def maps(node: RunningNode) -> list[str]:
    """Libraries of the engine's process."""
    lines = Path(f"/proc/{node.model()['engine']['pid']}/maps").read_text().splitlines()
    return sorted({line.split()[-1] for line in lines if ".so" in line})


def same_but_for_ties(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    """Whether the answers are the same up to the first place where two tokens are as likely."""
    for first, second in zip(one, other, strict=False):
        if first["token"] != second["token"]:
            likeliest = [entry["logprob"] for entry in first["top_logprobs"]]
            return abs(likeliest[0] - likeliest[1]) < TIE
    return len(one) == len(other)
