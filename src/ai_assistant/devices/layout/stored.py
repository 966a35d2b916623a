"""What was measured of models on this machine, kept: one file for each model and KV type."""

import hashlib
from pathlib import Path
from typing import TypeVar

import msgspec

from ai_assistant.devices.layout.predict import NEUTRAL, Bench, Factors
from ai_assistant.protocol.files import write_whole
from ai_assistant.protocol.layout import ModelAnatomy

VERSION = "9"
Kept = TypeVar("Kept")


def key(anatomy: ModelAnatomy, machine: str) -> str:
    """Names a model's shape on a machine: the same shape costs the same, whatever its weights."""
    facts = [VERSION, machine, msgspec.json.encode(anatomy).decode()]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:32]


def load(folder: Path, name: str, kv_types: tuple[str, ...]) -> dict[str, Bench]:
    """By KV type: what was measured and can be read."""
    found = {kind: _read(folder / f"{name}.{kind}.json", Bench) for kind in kv_types}
    return {kind: bench for kind, bench in found.items() if bench is not None}


def save(folder: Path, name: str, kv_type: str, bench: Bench) -> None:
    """Raises `OSError`."""
    write_whole(folder / f"{name}.{kv_type}.json", msgspec.json.encode(bench))


def load_factors(folder: Path, name: str) -> Factors:
    """What the model's own steps taught; neutral where they have not yet."""
    return _read(folder / f"{name}.factors.json", Factors) or NEUTRAL


def save_factors(folder: Path, name: str, factors: Factors) -> None:
    """Raises `OSError`."""
    write_whole(folder / f"{name}.factors.json", msgspec.json.encode(factors))


def _read(path: Path, kind: type[Kept]) -> Kept | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
