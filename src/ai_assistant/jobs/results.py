"""What a line came to, and how it stands in the output or error file."""

from hashlib import sha256
from typing import Any

import msgspec

from ai_assistant.jobs.states import Spent

EXPIRED = (
    "batch_expired",
    "This request could not be executed before the completion window expired.",
)
CANCELLED = ("batch_cancelled", "This request was not executed: the batch was cancelled.")
FAILED = ("batch_failed", "This request was not executed: the batch failed.")


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The end of one line: `text` is a line of a file, of the output file where `ok`."""

    line: int
    ok: bool
    text: str
    spent: Spent = Spent()
    model: str | None = None


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint's answer."""

    status: int
    body: bytes
    request_id: str


class _Details(msgspec.Struct):
    cached_tokens: int | None = 0
    reasoning_tokens: int | None = 0


class _Usage(msgspec.Struct):
    """Of chats and embeddings, and by the names of newer endpoints."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


class _Tail(msgspec.Struct):
    model: str | None = None
    usage: _Usage | None = None


_tail = msgspec.json.Decoder(_Tail)


def answered(batch: str, line: int, custom_id: str, answer: Answered) -> Result:
    """The result of a line that was asked; any status but 200 is a failure."""
    ok = answer.status == 200
    response = {
        "status_code": answer.status,
        "request_id": answer.request_id,
        "body": msgspec.Raw(answer.body),
    }
    model, spent = _figures(answer.body) if ok else (None, Spent())
    text = _entry(batch, line, custom_id, response, None)
    return Result(line=line, ok=ok, text=text, spent=spent, model=model)


def unanswered(batch: str, line: int, custom_id: str | None, code: str, message: str) -> Result:
    """The result of a line that was never asked."""
    error = {"code": code, "message": message}
    return Result(line=line, ok=False, text=_entry(batch, line, custom_id, None, error))


def _entry(
    batch: str, line: int, custom_id: str | None, response: Any, error: dict[str, str] | None
) -> str:
    name = sha256(f"{batch} {line}".encode()).hexdigest()[:24]
    entry = {
        "id": f"batch_req_{name}",
        "custom_id": custom_id,
        "response": response,
        "error": error,
    }
    return msgspec.json.encode(entry).decode()


def _figures(body: bytes) -> tuple[str | None, Spent]:
    try:
        tail = _tail.decode(body)
    except msgspec.MsgspecError:
        return None, Spent()
    usage = tail.usage or _Usage()
    into = usage.prompt_tokens_details or usage.input_tokens_details or _Details()
    out = usage.completion_tokens_details or usage.output_tokens_details or _Details()
    return tail.model, Spent(
        input=usage.prompt_tokens or usage.input_tokens or 0,
        cached=into.cached_tokens or 0,
        output=usage.completion_tokens or usage.output_tokens or 0,
        reasoning=out.reasoning_tokens or 0,
    )
