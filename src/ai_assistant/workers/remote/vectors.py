"""Vectors in the words of OpenAI's API."""

import msgspec
import numpy as np

from ai_assistant.protocol.chunks import Embeddings, Usage
from ai_assistant.protocol.errors import MalformedAnswer
from ai_assistant.protocol.requests import EmbedRequest
from ai_assistant.workers.remote.closing import believed, estimated_inputs


class _Vector(msgspec.Struct):
    embedding: list[float]
    index: int = 0


class _EmbedUsage(msgspec.Struct):
    prompt_tokens: int | None = None


class _Vectors(msgspec.Struct):
    data: list[_Vector]
    usage: _EmbedUsage | None = None


def vectors_of(provider: str, body: bytes, request: EmbedRequest) -> Embeddings:
    """The vectors in an answer's body; raises `MalformedAnswer`."""
    try:
        found = msgspec.json.decode(body, type=_Vectors)
    except msgspec.DecodeError as error:
        raise MalformedAnswer(f"{provider} sent what is not vectors: {error}") from None
    rows = sorted(found.data, key=lambda row: row.index)
    if len(rows) != len(request.inputs) or len({len(row.embedding) for row in rows}) != 1:
        raise MalformedAnswer(f"{provider} sent {len(rows)} vectors for {len(request.inputs)}.")
    counted = found.usage.prompt_tokens if found.usage else None
    told = None if counted is None else believed(Usage(prompt_tokens=counted, completion_tokens=0))
    return Embeddings(
        vectors=tuple(_unit(row.embedding) for row in rows),
        dimensions=len(rows[0].embedding),
        prompt_tokens=estimated_inputs(request) if told is None else told.prompt_tokens,
    )


def _unit(values: list[float]) -> bytes:
    vector = np.asarray(values, dtype="<f4")
    length = float(np.linalg.norm(vector))
    return (vector / length if length else vector).astype("<f4").tobytes()
