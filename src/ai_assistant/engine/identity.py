"""Which saved states fit this engine: a fingerprint of all that a saved state does not check.

libllama verifies shapes and KV types when it restores a state. It does not notice another model of
the same shape, nor other position scaling; states between kernels of different builds are not
promised to fit either (engine research, A5).
"""

import functools
import os
import sys
from hashlib import blake2b
from pathlib import Path

from ai_assistant.engine.kernels import Model, libllama
from ai_assistant.protocol.engine_plan import EnginePlan

SAMPLES = 256
SAMPLE_BYTES = 16_384


def fingerprint(plan: EnginePlan, model: Model) -> bytes:
    """16 bytes; equal for engines of this machine that may exchange saved states."""
    digest = _layout(plan, model)
    digest.update(contents(Path(plan.model_path)))
    return digest.digest()


def layout(plan: EnginePlan, model: Model) -> str:
    """The same without the model's file, as 32 hexadecimal digits: for engines of any machine."""
    digest = _layout(plan, model)
    digest.update(sys.byteorder.encode())
    return digest.hexdigest()


def _layout(plan: EnginePlan, model: Model) -> "blake2b":
    digest = blake2b(digest_size=16)
    for word in (
        "layout 1",
        libllama.version(),
        plan.kv_type,
        "unified" if model.shares_prefixes else "whole",
        os.environ.get("LLAMA_ATTN_ROT_DISABLE", ""),  # noqa: TID251 - the kernels read it too
    ):
        digest.update(word.encode() + b"\0")
    return digest


def contents(path: Path) -> bytes:
    """A digest of a file's size, time of change and samples spread over all of it: reading the
    whole of a large file would take longer than loading it."""
    facts = path.stat()
    return _digests(path, facts.st_size, facts.st_mtime_ns)[0]


def weights(path: Path) -> str:
    """The same without the time of change, as 32 hexadecimal digits: a copy on another machine has
    the same. Empty where the file cannot be read any more."""
    try:
        facts = path.stat()
        return _digests(path, facts.st_size, facts.st_mtime_ns)[1].hex()
    except OSError:
        return ""


@functools.lru_cache(maxsize=4)
def _digests(path: Path, size: int, changed: int) -> tuple[bytes, bytes]:
    here, anywhere = blake2b(digest_size=16), blake2b(digest_size=16)
    here.update(f"{size} {changed}".encode())
    anywhere.update(f"{size}".encode())
    step = max(size // SAMPLES, SAMPLE_BYTES)
    with path.open("rb") as file:
        for start in range(0, size, step):
            file.seek(start)
            sample = file.read(SAMPLE_BYTES)
            here.update(sample)
            anywhere.update(sample)
    return here.digest(), anywhere.digest()
