"""The models that this node can serve: the bundled starter and the owner's files."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ai_assistant.protocol.status import ModelInfo
from ai_assistant.store.anatomy import kv_bytes
from ai_assistant.store.gguf_header import GgufHeader, read_header

STARTER = "starter"
_TAKEN = (STARTER, "default", "auto")
_EMBEDDING_ARCHITECTURES = ("bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "modern-bert",
                            "neo-bert", "gemma-embedding", "eurobert")  # fmt: skip
_STATE_ONLY = ("mamba", "mamba2", "rwkv6", "rwkv7", "arwkv7", "rwkv6qwen2")


def starter_path() -> Path:
    """The model that is part of the product."""
    return Path(__file__).parent / "starter" / "starter.gguf"


def known_models(paths: tuple[str, ...]) -> tuple[ModelInfo, ...]:
    """The owner's files first, so that the first one is the default, then the starter. A file that
    is named twice is there once; a link of another name is another model.

    Raises `ModelLoadFailed` for a file that is missing, torn or no GGUF.
    """
    own = _own(paths)
    ids = model_ids(list(own.values()))
    models = {known: read_model(given, ids[given]) for known, given in own.items()}
    bundled = starter_path().resolve()
    models[_known_as(bundled)] = read_model(bundled, STARTER)
    return tuple(models.values())


def renamed(paths: tuple[str, ...]) -> list[str]:
    """What the owner should know of files that are not served under their own names."""
    told: list[str] = []
    for path, name in model_ids(list(_own(paths).values())).items():
        if name != path.stem and _known_as(path) != _known_as(starter_path()):
            means = "the bundled model" if path.stem == STARTER else "something else too"
            told.append(f"{path} is served as {name}: {path.stem} alone means {means}.")
    return told


def _own(paths: tuple[str, ...]) -> dict[tuple[Path, str], Path]:
    """The owner's files as they are named, each once."""
    found: dict[tuple[Path, str], Path] = {}
    for path in paths:
        given = Path(os.path.abspath(Path(path).expanduser()))
        found.setdefault(_known_as(given), given)
    return found


def _known_as(path: Path) -> tuple[Path, str]:
    """Where a file really is, and what it is called."""
    return path.resolve(), path.stem


def model_ids(paths: Sequence[Path]) -> dict[Path, str]:
    """By what name clients ask for each file: its own, with as many of its folders as it takes to
    be the only one. The bundled model and words with a meaning keep theirs."""
    names = {path: _names(path) for path in paths}
    while True:
        count = Counter(found[0] for found in names.values())
        twins = [
            found
            for found in names.values()
            if len(found) > 1 and (count[found[0]] > 1 or found[0] in _TAKEN)
        ]
        if not twins:
            return {path: found[0] for path, found in names.items()}
        for found in twins:
            found.pop(0)


def _names(path: Path) -> list[str]:
    """The shortest first."""
    parts = [*path.parent.parts[1:], path.stem]
    return ["/".join(parts[-depth:]) for depth in range(1, len(parts) + 1)] + [str(path)]


def read_model(path: Path, model_id: str) -> ModelInfo:
    """A file's facts under the name by which clients ask for it."""
    header = read_header(path)
    facts = header.facts
    architecture = str(facts.get("general.architecture", "unknown"))
    layers = int(header.of_architecture("block_count", 0) or 0)
    return ModelInfo(
        id=model_id,
        name=str(facts.get("general.name") or path.stem),
        path=str(path.resolve()),
        size_bytes=path.stat().st_size,
        architecture=architecture,
        quantisation=_quantisation(header),
        parameters=header.parameters,
        context_train=int(header.of_architecture("context_length", 0) or 0),
        embedding=_gives_vectors(header, architecture),
        licence=facts.get("general.license"),
        kv_bytes_per_token=0 if architecture in _STATE_ONLY else layers * kv_bytes(header),
    )


def _gives_vectors(header: GgufHeader, architecture: str) -> bool:
    pooling = header.of_architecture("pooling_type", 0)
    return architecture in _EMBEDDING_ARCHITECTURES or bool(pooling)


def _quantisation(header: GgufHeader) -> str:
    """The type that most weights have."""
    return max(header.types, key=lambda name: header.types[name], default="none")
