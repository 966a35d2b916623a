"""What was measured of models on this machine, kept: one file for each model."""

import hashlib
from pathlib import Path

import msgspec

from ai_assistant.devices.layout.predict import Bench
from ai_assistant.protocol.files import write_whole
from ai_assistant.protocol.layout import ModelAnatomy

VERSION = "1"


def key(anatomy: ModelAnatomy, machine: str, threads: tuple[int, ...], chunk: int) -> str:
    """Names a model's shape on a machine: the same shape costs the same, whatever its weights."""
    facts = [VERSION, machine, str(threads), str(chunk), msgspec.json.encode(anatomy).decode()]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:32]


def load(folder: Path, name: str) -> Bench | None:
    """None: not measured yet, or not readable."""
    try:
        return msgspec.json.decode((folder / f"{name}.json").read_bytes(), type=Bench)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def save(folder: Path, name: str, bench: Bench) -> None:
    """Raises `OSError`."""
    write_whole(folder / f"{name}.json", msgspec.json.encode(bench))
