"""Files as OpenAI's API writes them."""

from typing import Any, Literal, get_args

from ai_assistant.gateway.errors import invalid
from ai_assistant.gateway.exchange import Exchange
from ai_assistant.gateway.queries import Query
from ai_assistant.jobs.entries import Page, StoredFile

Purpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
_MOST = 10_000
EXPIRES = (3600, 2_592_000)
"""Seconds that a client may ask for: an hour to 30 days."""


def file_object(file: StoredFile) -> dict[str, Any]:
    """OpenAI's `File`."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": file.created_at,
        "expires_at": file.expires_at,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def read_purpose(fields: dict[str, str]) -> str:
    """What the file is for; raises `InvalidRequest`."""
    purpose = fields.get("purpose", "")
    if purpose not in get_args(Purpose):
        raise invalid("purpose", f"expected one of {', '.join(get_args(Purpose))}")
    return purpose


def read_expiry(fields: dict[str, str], created_at: int) -> int | None:
    """When the client wants it deleted; None: it did not say. Raises `InvalidRequest`."""
    anchor, text = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and text is None:
        return None
    if anchor != "created_at":
        raise invalid("expires_after[anchor]", "expected created_at")
    if not (text or "").isdecimal() or not EXPIRES[0] <= int(text or "") <= EXPIRES[1]:
        raise invalid("expires_after[seconds]", f"expected {EXPIRES[0]} to {EXPIRES[1]}")
    return created_at + int(text or "")


def read_page(exchange: Exchange, *, usual: int = _MOST, most: int = _MOST) -> Page:
    """`limit`, `after` and `order` of a list; raises `InvalidRequest`."""
    query = Query(exchange)
    order = query.text("order") or "desc"
    if order not in ("asc", "desc"):
        raise invalid("order", "expected asc or desc")
    limit = query.number("limit", usual, 1, most)
    return Page(limit=limit, after=query.text("after"), descending=order == "desc")


def list_object(objects: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    """OpenAI's list; what is over the limit only says that there is more."""
    shown = objects[:limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(objects) > limit,
    }
