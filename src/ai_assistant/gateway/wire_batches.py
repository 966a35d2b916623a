"""Batches as OpenAI's API reads and writes them."""

from typing import Annotated, Any, Literal

import msgspec

from ai_assistant.gateway.decoding import decode
from ai_assistant.gateway.errors import invalid
from ai_assistant.gateway.wire_files import EXPIRES
from ai_assistant.jobs.jobs import Order, Progress
from ai_assistant.jobs.states import Batch

WINDOW, SPILL = "window", "spill"
"""Keys in a batch's metadata: its hours; whether it may go to a cloud when it is late."""
_YES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_MAX_PAIRS = 16
_TIMES = (
    "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled",
)  # fmt: skip

Key = Annotated[str, msgspec.Meta(max_length=64)]
Value = Annotated[str, msgspec.Meta(max_length=512)]


class ExpiresAfter(msgspec.Struct):
    """How long output files are kept."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, msgspec.Meta(ge=EXPIRES[0], le=EXPIRES[1])]


class BatchBody(msgspec.Struct):
    """POST /v1/batches."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[Key, Value] | None = None
    output_expires_after: ExpiresAfter | None = None


_decoder = msgspec.json.Decoder(BatchBody)


def read_batch(
    body: bytes, endpoints: list[str], *, tenant: str, owner: str, labels: tuple[str, ...] = ()
) -> Order:
    """What is ordered; raises `InvalidRequest` that names the field at fault."""
    wire = decode(_decoder, body)
    if wire.endpoint not in endpoints:
        raise invalid("endpoint", f"expected one of {', '.join(endpoints)}")
    metadata = wire.metadata
    if metadata and len(metadata) > _MAX_PAIRS:
        raise invalid("metadata", f"at most {_MAX_PAIRS} pairs")
    return Order(
        tenant=tenant,
        owner=owner,
        endpoint=wire.endpoint,
        input_file=wire.input_file_id,
        completion_window=wire.completion_window,
        window=(metadata or {}).get(WINDOW, ""),
        metadata=metadata,
        labels=labels,
        spill=_spill((metadata or {}).get(SPILL, "")),
        output_seconds=wire.output_expires_after.seconds if wire.output_expires_after else None,
    )


def _spill(said: str) -> bool | None:
    if said and said.lower() not in _YES:
        raise invalid(f"metadata.{SPILL}", "expected true or false")
    return _YES.get(said.lower())


def batch_object(batch: Batch, progress: Progress) -> dict[str, Any]:
    """OpenAI's `Batch`; `ai_assistant` says what it is doing now."""
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model,
        "errors": _errors(batch),
        "input_file_id": batch.input_file,
        "completion_window": batch.completion_window,
        "status": batch.status,
        "output_file_id": batch.output_file,
        "error_file_id": batch.error_file,
        "created_at": batch.created_at,
        "expires_at": batch.expires_at,
        **{f"{status}_at": batch.times.get(status) for status in _TIMES},
        "request_counts": batch.counts,
        "usage": _usage(batch),
        "metadata": batch.metadata,
        "ai_assistant": progress,
    }


def _errors(batch: Batch) -> dict[str, Any] | None:
    return {"object": "list", "data": batch.errors} if batch.errors else None


def _usage(batch: Batch) -> dict[str, Any]:
    spent = batch.spent
    return {
        "input_tokens": spent.input,
        "input_tokens_details": {"cached_tokens": spent.cached},
        "output_tokens": spent.output,
        "output_tokens_details": {"reasoning_tokens": spent.reasoning},
        "total_tokens": spent.input + spent.output,
    }
