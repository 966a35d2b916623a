"""The models that this node can serve: the bundled starter and the owner's files."""

from pathlib import Path

from ai_assistant.protocol.status import ModelInfo
from ai_assistant.store.anatomy import kv_bytes
from ai_assistant.store.gguf_header import GgufHeader, read_header

STARTER = "starter"
_EMBEDDING_ARCHITECTURES = ("bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "modern-bert",
                            "neo-bert", "gemma-embedding", "eurobert")  # fmt: skip
_STATE_ONLY = ("mamba", "mamba2", "rwkv6", "rwkv7", "arwkv7", "rwkv6qwen2")


def starter_path() -> Path:
    """The model that is part of the product."""
    return Path(__file__).parent / "starter" / "starter.gguf"


def known_models(paths: tuple[str, ...]) -> tuple[ModelInfo, ...]:
    """The owner's files first, so that the first one is the default, then the starter.

    Raises `ModelLoadFailed` for a file that is missing, torn or no GGUF.
    """
    models = [read_model(Path(path).expanduser(), _free_id(path, paths)) for path in paths]
    return (*models, read_model(starter_path(), STARTER))


def _free_id(path: str, paths: tuple[str, ...]) -> str:
    """The file's name; with its folder's where two files have the same one."""
    stem = Path(path).stem
    twins = [other for other in paths if Path(other).stem == stem]
    taken = len(twins) > 1 or stem in (STARTER, "default")
    return f"{Path(path).resolve().parent.name}/{stem}" if taken else stem


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
